//! The object with the kernel programs: the choice of it for this kernel, and loading
//! it with its global variables set.
//!
//! Not here: the programs in it (`programs`), and the use of its maps (`kernel`).

use std::path::Path;

use agent_recorder_abi::limits::AREAS;
use agent_recorder_abi::policy::{GUARD_DENY, GUARD_FREEZE, GUARD_KILL, GuardConfig};
use agent_recorder_abi::state::Hooks;
use aya::{Btf, Ebpf, EbpfLoader};
use sha2::{Digest as _, Sha256};

use super::programs;
use super::source::Source;
use crate::bpf::Error;
use crate::bpf::Options;
use crate::bpf::attach::hooks::Profile;
use crate::bpf::btf::Resolved;
use crate::bpf::error::{chain, refused};

/// The object, built by `cargo xtask build`. It is aligned, because it is parsed in
/// place.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/agent-recorder.bpf.o"));
/// The same programs for kernels without bpf_loop.
static OLD_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/agent-recorder-old.bpf.o"));

pub(in crate::bpf) fn read_btf(path: &Path) -> Result<Btf, Error> {
    if let Err(source) = std::fs::metadata(path) {
        return Err(Error::NoBtf {
            path: path.to_owned(),
            source,
        });
    }
    Btf::parse_file(path, aya::Endianness::default()).map_err(|error| Error::BadBtf {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// The object for this kernel.
///
/// # Errors
///
/// This binary was built without the object.
pub(in crate::bpf) fn object_for(resolved: &Resolved) -> Result<&'static [u8], Error> {
    if OBJECT.is_empty() || OLD_OBJECT.is_empty() {
        return Err(Error::NoObject);
    }
    Ok(if resolved.has_helpers {
        OBJECT
    } else {
        OLD_OBJECT
    })
}

/// Bytes of the hash in a [`layout`].
const LAYOUT_BYTES: usize = 8;

/// A hash over all inputs of the programs. Programs of an equal layout are
/// interchangeable, together with the contents of their maps.
pub(in crate::bpf) fn layout(object: &[u8], resolved: &Resolved, options: &Options) -> String {
    let mut sum = Sha256::new();
    sum.update(object);
    for value in &resolved.values {
        sum.update(value.to_ne_bytes());
    }
    let decided = (
        options.guard,
        options.priority_ring_bytes,
        options.bulk_ring_bytes,
        &options.profiles,
        // Events refer to rules and programs by number.
        (&options.rules, &options.gated, &options.names),
    );
    sum.update(format!("{decided:?}"));
    let sum = sum.finalize();
    sum[..LAYOUT_BYTES]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Maps whose size matters only to a recorder.
const LARGE: [&str; 13] = [
    "SESSIONS",
    "SEEN",
    "SOCKETS",
    "DESCRIPTORS",
    "PEERS",
    "KNOWN",
    "FORESEEN",
    "CONTENTS",
    "CUTS",
    "CUT_DESCRIPTORS",
    "SOCKADDRS",
    "URING",
    "LINEAGE",
];

/// Loads the object for a probe of the kernel, with small maps, which are faster to
/// create.
pub(in crate::bpf) fn load_probes(source: &Source<'_>) -> Result<Ebpf, Error> {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX);
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(source.btf))
        .allow_unsupported_maps()
        .map_max_entries("PRIORITY", page)
        .map_max_entries("BULK", page);
    for map in LARGE {
        loader.map_max_entries(map, 1);
    }
    loaded(&mut loader, source)
}

fn loaded(loader: &mut EbpfLoader<'_>, source: &Source<'_>) -> Result<Ebpf, Error> {
    loader
        .load(source.linked.bytes())
        .map_err(|error| refused(&error).unwrap_or_else(|| Error::Object(chain(&error))))
}

pub(in crate::bpf) fn load_object(
    options: &Options,
    profile: Profile,
    refuses: bool,
    source: &Source<'_>,
) -> Result<Ebpf, Error> {
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| Error::System {
        what: "counting the CPUs",
        source,
    })?;
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX / 2);
    let guard = effective(options.guard, refuses);
    let traced = Traced {
        copied: source.copied,
        sends: programs::sends_are_traced(source.btf),
        times: programs::times_are_traced(source.btf),
    };
    let hooks = hooks_in_use(profile, refuses, options.guard.action, traced);
    let resolved = source.resolved;
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(source.btf))
        .allow_unsupported_maps()
        .override_global("OFFSETS", resolved.values.as_slice(), true)
        .override_global("GUARD", &guard, true)
        .override_global("HOOKS", &hooks, true)
        .override_global("FILE_ONE_REFERENCE", &resolved.file_one_reference, true)
        .map_max_entries("SCRATCH", AREAS.saturating_mul(cpus))
        .map_max_entries("PRIORITY", options.priority_ring_bytes)
        .map_max_entries("BULK", options.bulk_ring_bytes);
    loaded(&mut loader, source)
}

/// What the tracepoints of this kernel show.
#[derive(Clone, Copy, Debug, Default)]
struct Traced {
    /// Programs on tracepoints can be preempted, and are attached as several
    /// replicas.
    copied: bool,
    /// The kernel traces what sockets send.
    sends: bool,
    /// The kernel traces changes of inode times.
    times: bool,
}

fn hooks_in_use(profile: Profile, refuses: bool, action: u64, traced: Traced) -> Hooks {
    Hooks {
        see: u64::from(profile.sees()),
        refuse: u64::from(refuses && can_refuse(action)),
        copied: u64::from(traced.copied),
        count: u64::from(!traced.sends),
        touch: u64::from(!profile.sees() && traced.times),
        decide: u64::from(refuses),
    }
}

fn can_refuse(action: u64) -> bool {
    [GUARD_KILL, GUARD_DENY, GUARD_FREEZE].contains(&action)
}

/// Where nothing can be refused, `deny` ends the session instead, as the next
/// strongest action; `Kernel::not_refusing` states why.
fn effective(guard: GuardConfig, refuses: bool) -> GuardConfig {
    if guard.action == GUARD_DENY && !refuses {
        GuardConfig {
            action: GUARD_KILL,
            ..guard
        }
    } else {
        guard
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use agent_recorder_abi::hooks;
    use agent_recorder_abi::policy::GUARD_ALERT;

    use super::*;

    /// Each fact changes the field of its name, and no other.
    #[test]
    fn what_is_frozen_says_what_it_is_named_after() {
        let traced = |copied, sends, times| Traced {
            copied,
            sends,
            times,
        };
        let none = Hooks {
            count: 1,
            ..Hooks::NONE
        };
        let of =
            |refuses, action, traced| hooks_in_use(Profile::Tracepoint, refuses, action, traced);
        let rows = [
            (of(false, GUARD_KILL, Traced::default()), none),
            (
                of(false, GUARD_KILL, traced(true, false, false)),
                Hooks { copied: 1, ..none },
            ),
            (
                of(false, GUARD_KILL, traced(false, true, false)),
                Hooks { count: 0, ..none },
            ),
            (
                of(false, GUARD_KILL, traced(false, false, true)),
                Hooks { touch: 1, ..none },
            ),
            (
                of(true, GUARD_ALERT, Traced::default()),
                Hooks { decide: 1, ..none },
            ),
            (
                of(true, GUARD_DENY, Traced::default()),
                Hooks {
                    decide: 1,
                    refuse: 1,
                    ..none
                },
            ),
            (
                hooks_in_use(Profile::Lsm, false, GUARD_KILL, traced(false, false, true)),
                Hooks { see: 1, ..none },
            ),
        ];
        for (hooks, expected) in rows {
            assert_eq!(hooks, expected);
        }
    }

    #[test]
    fn the_objects_have_the_programs_of_the_table_and_no_other() -> anyhow::Result<()> {
        for object in [OBJECT, OLD_OBJECT] {
            assert!(!object.is_empty(), "`cargo xtask build` makes the objects");
            let object = aya_obj::Object::parse(object)?;
            let built: BTreeSet<_> = object.programs.keys().map(String::as_str).collect();
            assert_eq!(built, hooks::programs().collect());
        }
        Ok(())
    }
}
