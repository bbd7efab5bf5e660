//! The prototype in the doc line of each kernel program is that of the running
//! kernel's type information (Documentation/bpf/btf.rst).
//!
//! A line is "`int NAME(TYPE ARGUMENT, …)`, OLDEST." or "…, OLDEST to LAST.", for the
//! kernels with this prototype. A later prototype has a line of its own. A last
//! argument `…` stands for any further ones. `void` is a tracepoint. `int` is a
//! function: that of the hook and that which calls it, `security_NAME`, unless the
//! latter has a line of its own.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, anyhow, ensure};
use btfparse::{Error as ParseError, ErrorKind, Readable, TypeInformation, TypeVariant};

const SOURCES: [&str; 3] = [
    include_str!("../../../../agent-recorder-ebpf/src/programs/hooks/tracepoints.rs"),
    include_str!("../../../../agent-recorder-ebpf/src/programs/hooks/security.rs"),
    include_str!("../../../../agent-recorder-ebpf/src/programs/hooks/self_test.rs"),
];
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

type Version = (u32, u32);

/// A doc line.
#[derive(Debug, PartialEq, Eq)]
struct Stated {
    returns: String,
    name: String,
    arguments: Vec<String>,
    more: bool,
    oldest: Version,
    last: Option<Version>,
}

impl Stated {
    fn of(line: &str) -> Option<Self> {
        let (prototype, kernels) = line.trim().strip_prefix("/// `")?.split_once('`')?;
        let (head, arguments) = prototype.strip_suffix(')')?.split_once('(')?;
        let (returns, name) = head.rsplit_once(' ')?;
        let mut arguments: Vec<&str> = arguments.split(',').map(str::trim).collect();
        let more = arguments.last() == Some(&"…");
        arguments.truncate(arguments.len() - usize::from(more));
        let mut words = kernels.strip_prefix(", ")?.split(' ');
        let oldest = version(words.next()?)?;
        let last = match (words.next(), words.next()) {
            (Some("to"), Some(last)) => version(last),
            _ => None,
        };
        Some(Self {
            returns: returns.to_owned(),
            name: name.to_owned(),
            arguments: arguments.into_iter().map(type_of_argument).collect(),
            more,
            oldest,
            last,
        })
    }

    fn holds_on(&self, kernel: Version) -> bool {
        self.oldest <= kernel && self.last.is_none_or(|last| kernel <= last)
    }

    fn is(&self, arguments: &[String]) -> bool {
        match arguments.get(..self.arguments.len()) {
            Some(first) if self.more => first == self.arguments,
            _ => arguments == self.arguments,
        }
    }

    /// The kernel's name of the hook, and the number of arguments before the stated
    /// ones.
    fn in_kernel(&self) -> Vec<(String, usize)> {
        if self.returns == "void" {
            return vec![(format!("btf_trace_{}", self.name), 1)];
        }
        ["security_", "bpf_lsm_", ""]
            .map(|prefix| (format!("{prefix}{}", self.name), 0))
            .into()
    }
}

fn version(text: &str) -> Option<Version> {
    let digits = text.trim_end_matches(|end: char| !end.is_ascii_digit());
    let (major, minor) = digits.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The declaration without the name.
fn type_of_argument(declaration: &str) -> String {
    let name = |it: char| it.is_ascii_alphanumeric() || it == '_';
    plain(declaration.trim_end_matches(name))
}

/// Normalises the notation of a type. Qualifiers of an argument's own value do not
/// concern the kernel.
fn plain(text: &str) -> String {
    let text = text.replace('*', " * ");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = match text.strip_prefix("const ") {
        Some(value) if !text.contains('*') => value,
        _ => &text,
    };
    match text {
        "long unsigned int" => "unsigned long".to_owned(),
        "long int" => "long".to_owned(),
        other => other.to_owned(),
    }
}

struct Bytes(Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ParseError> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let to = from.saturating_add(buffer.len());
        let bytes = self.0.get(from..to);
        let end = || ParseError::new(ErrorKind::IOError, "it ends too early");
        buffer.copy_from_slice(bytes.ok_or_else(end)?);
        Ok(())
    }
}

/// The running kernel's functions and tracepoints, by name: the types of their arguments.
struct Kernel {
    types: TypeInformation,
    callable: BTreeMap<String, u32>,
}

impl Kernel {
    fn running(wanted: &BTreeSet<String>) -> anyhow::Result<Self> {
        let bytes = std::fs::read(VMLINUX).context(VMLINUX)?;
        let types = TypeInformation::new(&Bytes(bytes)).map_err(|it| anyhow!("{it:?}"))?;
        let mut callable = BTreeMap::new();
        for of_kernel in types.get().values() {
            let (name, prototype) = match of_kernel {
                TypeVariant::Func(function) => (function.name(), *function.prototype_tid()),
                TypeVariant::Typedef(typedef) => (typedef.name(), *typedef.tid()),
                _ => continue,
            };
            if let Some(name) = name
                && wanted.contains(name)
            {
                callable.insert(name.clone(), prototype);
            }
        }
        Ok(Self { types, callable })
    }

    fn arguments(&self, name: &str) -> Option<Vec<String>> {
        let mut prototype = *self.callable.get(name)?;
        loop {
            match self.types.from_id(prototype)? {
                TypeVariant::Ptr(pointer) => prototype = *pointer.tid(),
                TypeVariant::FuncProto(function) => {
                    let arguments = function.parameter_list().iter();
                    let shown = |tid| plain(&self.shown(tid));
                    return Some(arguments.map(|it| shown(it.tid())).collect());
                }
                _ => return None,
            }
        }
    }

    /// The type in C.
    fn shown(&self, tid: u32) -> String {
        let of = |kind: &str, name: &Option<String>| {
            format!("{kind} {}", name.as_deref().unwrap_or_default())
        };
        match self.types.from_id(tid) {
            Some(TypeVariant::Void) => "void".to_owned(),
            Some(TypeVariant::Ptr(to)) => format!("{} *", self.shown(*to.tid())),
            Some(TypeVariant::Const(it)) => format!("const {}", self.shown(*it.tid())),
            Some(TypeVariant::Volatile(it)) => self.shown(*it.tid()),
            Some(TypeVariant::Restrict(it)) => self.shown(*it.tid()),
            Some(TypeVariant::TypeTag(it)) => self.shown(*it.tid()),
            Some(TypeVariant::Struct(it)) => of("struct", it.name()),
            Some(TypeVariant::Fwd(it)) => of("struct", it.name()),
            Some(TypeVariant::Union(it)) => of("union", it.name()),
            Some(TypeVariant::Enum(it)) => of("enum", it.name()),
            Some(TypeVariant::Typedef(it)) => it.name().clone().unwrap_or_default(),
            Some(TypeVariant::Int(it)) => it.name().clone().unwrap_or_default(),
            other => format!("{other:?}"),
        }
    }
}

fn stated() -> Vec<Stated> {
    SOURCES
        .iter()
        .flat_map(|source| source.lines().filter_map(Stated::of))
        .collect()
}

fn running() -> anyhow::Result<Version> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut parts = release.split(['.', '-']);
    let mut next = || parts.next().and_then(|part| part.parse().ok());
    next().zip(next()).context("a kernel without a number")
}

#[test]
fn the_prototypes_that_programs_state_are_the_running_kernels() -> anyhow::Result<()> {
    let version = running()?;
    let stated = stated();
    let apart = |name: &str| {
        let mut here = stated.iter().filter(|it| it.holds_on(version));
        here.any(|it| it.name == name)
    };
    let here: Vec<_> = stated.iter().filter(|it| it.holds_on(version)).collect();
    ensure!(!here.is_empty());
    let wanted = here.iter().flat_map(|it| it.in_kernel());
    let kernel = Kernel::running(&wanted.map(|(name, _)| name).collect())?;
    let mut wrong = Vec::new();
    for stated in here {
        let found: Vec<_> = stated
            .in_kernel()
            .into_iter()
            .filter(|(name, _)| *name == stated.name || !apart(name))
            .filter_map(|(name, skipped)| Some((kernel.arguments(&name)?.split_off(skipped), name)))
            .collect();
        if found.is_empty() {
            wrong.push(format!("{}: this kernel has none", stated.name));
        }
        for (arguments, name) in found {
            if !stated.is(&arguments) {
                wrong.push(format!(
                    "{name}: stated {:?}, is {arguments:?}",
                    stated.arguments
                ));
            }
        }
    }
    ensure!(wrong.is_empty(), "on {version:?}:\n{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn every_program_states_a_prototype() {
    let stated: BTreeSet<_> = stated().into_iter().map(|it| it.name).collect();
    for line in SOURCES.iter().flat_map(|source| source.lines()) {
        for sign in ["function = \"", "hook = \"", ", \"security_", "_2, \""] {
            if let Some((_, rest)) = line.split_once(sign)
                && let Some((name, _)) = rest.split_once('"')
            {
                let own = name.trim_start_matches("security_");
                let apart = format!("security_{own}");
                assert!(stated.contains(own) || stated.contains(&apart), "{line}");
            }
        }
    }
}

#[test]
fn a_line_says_which_kernels_have_it() {
    let line = "    /// `void seen(const struct sock *sk, const int old, unsigned long x, …)`, 6.0 to 6.14.";
    let seen = Stated {
        returns: "void".into(),
        name: "seen".into(),
        arguments: ["const struct sock *", "int", "unsigned long"]
            .map(String::from)
            .into(),
        more: true,
        oldest: (6, 0),
        last: Some((6, 14)),
    };
    assert_eq!(Stated::of(line).as_ref(), Some(&seen));
    assert!(seen.holds_on((6, 14)) && !seen.holds_on((6, 15)) && !seen.holds_on((5, 10)));
    assert_eq!(Stated::of("/// `seen` is no prototype, 5.5."), None);
}
