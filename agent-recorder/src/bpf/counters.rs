//! What the programs counted: events made and lost, per kind, and troubles. Exact: each CPU counts its own.

use agent_recorder_abi::event::{KINDS, Kind, TROUBLES, Trouble};

/// Sums over all CPUs, since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events that were made, by [`Kind`].
    pub produced: [u64; KINDS],
    /// Of those, the ones that found their ring full.
    pub lost: [u64; KINDS],
    /// What could not be done, by [`Trouble`].
    pub troubles: [u64; TROUBLES],
    /// How often the kernel skipped a program that another task was preempted
    /// in, and its every copy too: acts of sessions, or of anybody else.
    pub skipped: u64,
}

impl Counters {
    /// Lost events of one kind.
    pub fn lost(&self, kind: Kind) -> u64 {
        self.lost[kind as usize]
    }

    /// One trouble's count.
    pub fn trouble(&self, trouble: Trouble) -> u64 {
        self.troubles[trouble as usize]
    }
}
