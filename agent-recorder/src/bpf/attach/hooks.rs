//! The profiles, the rows of the table of hooks that each uses, and the hooks that a
//! kernel lacks.
//!
//! Not here: the table (`agent_recorder_abi::hooks`), loading and attaching the
//! programs (`load`, `attached`).

use std::fmt;

use agent_recorder_abi::hooks::{
    SECURITY_HOOKS, SecurityHook, StandIn, TRACEPOINTS, Tracepoint, When,
};

/// A set of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// BPF LSM programs see the objects of an operation, and refuse operations.
    Lsm,
    /// Programs on the kernel functions that call the security hooks see the same
    /// objects, and refuse where the kernel takes fmod_ret programs.
    Fentry,
    /// Programs at the exit of system calls see the arguments of the caller.
    Tracepoint,
}

impl Profile {
    /// All profiles, the strongest first.
    pub const ALL: [Self; 3] = [Self::Lsm, Self::Fentry, Self::Tracepoint];

    /// Whether the programs see objects before an operation changes them.
    pub(in crate::bpf) fn sees(self) -> bool {
        self != Self::Tracepoint
    }

    /// Whether the guard can refuse, provided that the kernel takes the deciding
    /// programs.
    pub(in crate::bpf) fn can_refuse(self) -> bool {
        self.sees()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lsm => "lsm",
            Self::Fentry => "fentry",
            Self::Tracepoint => "tracepoint",
        })
    }
}

/// A hook that this kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The program's name.
    pub program: &'static str,
    /// What is missing from the records without the program.
    pub lost: &'static str,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.program, self.lost)
    }
}

/// The name of a security hook's program in a profile.
pub(in crate::bpf) fn named(row: &'static SecurityHook, profile: Profile) -> &'static str {
    match profile {
        Profile::Lsm => row.hook,
        Profile::Fentry | Profile::Tracepoint => row.function,
    }
}

/// Whether a program of this name only decides.
pub(in crate::bpf) fn only_decides(name: &str) -> bool {
    let mut rows = SECURITY_HOOKS.iter();
    rows.any(|row| row.only_decides && row.has_program(name))
}

/// The functions at whose exit a program takes the place of a tracepoint's.
pub(in crate::bpf) fn function_exits() -> impl Iterator<Item = &'static str> {
    TRACEPOINTS.iter().filter_map(function_exit)
}

/// The one of this tracepoint.
pub(in crate::bpf) fn function_exit(row: &Tracepoint) -> Option<&'static str> {
    match row.stand_in {
        StandIn::FunctionExit(function) => Some(function),
        StandIn::None | StandIn::Tracepoint(_) => None,
    }
}

/// The tracepoints that a profile takes in place of security hooks.
pub(in crate::bpf) fn in_place_of_hooks() -> impl Iterator<Item = &'static Tracepoint> {
    TRACEPOINTS
        .iter()
        .filter(|row| row.when == When::WithoutHooks)
}
