//! Errors between this process and the kernel, each with its remedy where there is
//! one.

use std::path::PathBuf;

/// An error of the BPF room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Built without `cargo xtask build`.
    #[error("this binary was built without its kernel programs; build it with `cargo xtask build`")]
    NoObject,
    /// The kernel has no BTF to resolve offsets from.
    #[error(
        "cannot read the kernel's type information from {path}: {source}; it takes a kernel with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf {
        /// Path of the BTF.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The BTF is damaged or of an unknown form.
    #[error("cannot parse the kernel's type information in {path}: {message}")]
    BadBtf {
        /// Where.
        path: PathBuf,
        /// The parser's words.
        message: String,
    },
    /// A structure has changed.
    #[error(
        "this kernel's `struct {type_name}` has no field `{path}`, which the programs read; run `agent-recorder doctor` and report its output"
    )]
    NoField {
        /// The structure.
        type_name: &'static str,
        /// The field.
        path: &'static str,
    },
    /// The kernel refuses bpf(2).
    #[error(
        "no permission to load kernel programs: run as root, or with CAP_BPF, CAP_PERFMON, CAP_KILL and CAP_SYS_PTRACE"
    )]
    NoPermission,
    /// The object does not load.
    #[error("cannot load the kernel programs: {0}; run `agent-recorder doctor`")]
    Object(String),
    /// One program does not load or attach.
    #[error("cannot {what} the kernel program `{program}`: {message}; run `agent-recorder doctor`")]
    Program {
        /// load or attach.
        what: &'static str,
        /// Its name.
        program: &'static str,
        /// The kernel's or aya's words.
        message: String,
    },
    /// The kernel takes no program that decides in this profile.
    #[error("the kernel does not take `{function}` as a program that refuses: {message}")]
    CannotRefuse {
        /// The function that the program was to decide on.
        function: &'static str,
        /// The kernel's words.
        message: String,
    },
    /// EPERM for programs of one profile.
    #[error(
        "the kernel refuses programs of the profile {profile}: they take root, and a kernel that is not locked down and was built with them; `agent-recorder doctor` says which"
    )]
    ProfileRefused {
        /// Which.
        profile: super::Profile,
    },
    /// The programs load and attach, but the kernel never calls them.
    #[error(
        "the kernel takes the programs of the profile {profile} and never calls them: bpf is not among its active security modules (lsm=)"
    )]
    NeverCalled {
        /// Which.
        profile: super::Profile,
    },
    /// The kernel preempts programs whose additions return no result. These are exact
    /// only in programs that are not preempted.
    #[error(
        "this kernel has no bpf_loop (5.17) but preempts programs on functions (5.11): the profile {profile} takes one that is newer, or older"
    )]
    Preempted {
        /// Which.
        profile: super::Profile,
    },
    /// A map is not as this binary knows it.
    #[error("cannot use the kernel map `{map}`: {message}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        message: String,
    },
    /// A rule does not fit.
    #[error("the rule pattern {pattern:?} cannot be matched in the kernel: {why}")]
    Rule {
        /// The pattern.
        pattern: String,
        /// The limit it breaks.
        why: &'static str,
    },
    /// A pinned object cannot be made, opened or taken away.
    #[error("cannot use {}: {source}", path.display())]
    Pin {
        /// Its name on the bpffs.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The directory for pins is on no bpffs.
    #[error(
        "{} is on no bpffs, so sessions end with the daemon: mount one (`mount -t bpf bpf {}`)",
        path.display(),
        super::BPFFS
    )]
    NoBpffs {
        /// Where they were to be pinned.
        path: std::path::PathBuf,
    },
    /// A system call failed.
    #[error("{what} failed: {source}")]
    System {
        /// Which.
        what: &'static str,
        /// The errno.
        source: std::io::Error,
    },
    /// An event that does not parse.
    #[error("an event of {length} bytes from the kernel is damaged at its {part}")]
    Event {
        /// What was read.
        part: &'static str,
        /// Bytes of the event.
        length: usize,
    },
}

pub(super) fn missing_program(name: &str) -> Error {
    Error::Object(format!("it lacks the program `{name}`"))
}

pub(super) fn missing(name: &'static str) -> Error {
    Error::Map {
        map: name,
        message: "the object lacks it".to_owned(),
    }
}

pub(super) fn map_error(map: &'static str, error: &dyn std::error::Error) -> Error {
    Error::Map {
        map,
        message: chain(error),
    }
}

pub(super) fn program_error(
    what: &'static str,
    program: &'static str,
    error: &dyn std::error::Error,
) -> Error {
    Error::Program {
        what,
        program,
        message: chain(error),
    }
}

/// Finds EPERM among the causes: its remedy is a right, not another kernel.
pub(super) fn refused(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let system = error.downcast_ref::<std::io::Error>();
        if system.and_then(std::io::Error::raw_os_error) == Some(libc::EPERM) {
            return Some(Error::NoPermission);
        }
        cause = error.source();
    }
    None
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    ending(&text)
}

/// The last lines of a verifier's log, which state the reason; a log can have
/// thousands.
pub(super) fn ending(text: &str) -> String {
    const KEPT: usize = 2000;
    let text = text.trim_end();
    let from = text.len().saturating_sub(KEPT);
    let from = (from..=text.len())
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    text[from..].to_owned()
}
