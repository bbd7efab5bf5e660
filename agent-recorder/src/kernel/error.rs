//! What can go wrong between here and the kernel, each with its remedy where there is one.

use std::path::PathBuf;

/// An error of the kernel room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Built without `cargo xtask build`.
    #[error("this binary was built without its kernel programs; build it with `cargo xtask build`")]
    NoObject,
    /// No BTF to resolve offsets from.
    #[error(
        "cannot read the kernel's type information from {path}: {source}; it takes a kernel with CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf {
        /// Where it was looked for.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is there, and damaged or of an unknown form.
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
