//! Counters of the programs: events made and lost per kind, and troubles. They are
//! exact, because each CPU has its own.

use agent_recorder_abi::event::{KINDS, Kind, TROUBLES, Trouble};

/// Sums over all CPUs, since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events that were made, by [`Kind`].
    pub produced: [u64; KINDS],
    /// Events among those that found their ring full.
    pub lost: [u64; KINDS],
    /// Failures of the programs, by [`Trouble`].
    pub troubles: [u64; TROUBLES],
    /// How often the kernel skipped a program and all its replicas, because preempted
    /// tasks were inside them. The skipped act may have been of a session or of any
    /// other process.
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
