//! Sessions: from the kernel's numbers to their UUIDs, who is in them, what
//! they did in sum, and when they end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use agent_recorder_abi::state::SessionNumber;

use super::path::KnownPath;
use crate::record::{SessionId, proto};

/// Sums of the recorder that a session's end tells.
#[derive(Clone, Debug, Default)]
pub struct Totalled {
    /// Events that the kernel programs made, per kind.
    pub produced: Vec<proto::KindCount>,
    /// Events that got here.
    pub delivered: Vec<proto::KindCount>,
    /// Events that did not.
    pub lost: Vec<proto::KindCount>,
    /// Files that the guard counted of the session.
    pub guard_counted: u64,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    /// Its name for ever.
    pub id: SessionId,
    /// The kernel's name of it.
    pub number: SessionNumber,
    /// The agent's name.
    pub agent: String,
    /// The rule that began it, `run` for a person's.
    pub rule: String,
    /// As its starter called it.
    pub name: String,
    /// How it came to be.
    pub origin: proto::Origin,
    /// The process it began with.
    pub root: u32,
    /// CLOCK_BOOTTIME, ns.
    pub started_boot_ns: u64,
    /// CLOCK_REALTIME, ns.
    pub started_unix_ns: i64,
    /// Absent while it runs.
    pub ended_unix_ns: Option<i64>,
    /// Members that were told of and have not ended: one pid is one process at a time.
    pub live: HashSet<u32>,
    /// The last members that ended, newest last, and when, CLOCK_BOOTTIME ns.
    pub(super) left: std::collections::VecDeque<(u32, u64)>,
    /// What it did.
    pub totals: Totals,
    /// The guard or an operator ended it.
    pub killed: bool,
    /// Members that died of the kernel's mark since the limit was met.
    pub struck: BTreeSet<u32>,
    /// The limit was met: SIGKILL is the guard's from now on.
    pub condemned: bool,
    /// Stopped by an operator, or the guard.
    pub frozen: bool,
    /// Cgroups of its own that are stopped as a whole.
    pub frozen_cgroups: BTreeSet<std::path::PathBuf>,
    /// Paths of the last files it removed, newest last.
    pub sample: std::collections::VecDeque<KnownPath>,
}

/// Members that ended and are remembered: what dies of a signal has often
/// ended when the call that sent it has.
const LEFT: usize = 256;
/// How long their numbers are taken for theirs: the kernel gives a number out
/// again when it has given out all others.
const LEFT_NS: u64 = 1_000_000_000;

impl Session {
    /// A member has ended.
    pub(super) fn left(&mut self, pid: u32, boot_ns: u64) {
        if self.left.len() == LEFT {
            self.left.pop_front();
        }
        self.left.push_back((pid, boot_ns));
    }

    /// Whether a process was a member when a call ended at this time.
    pub(super) fn has(&self, pid: u32, boot_ns: u64) -> bool {
        let just_ended = |&(left, at): &(u32, u64)| left == pid && boot_ns <= at + LEFT_NS;
        self.live.contains(&pid) || self.left.iter().any(just_ended)
    }
}

/// Sums of a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Records.
    pub records: u64,
    /// Processes.
    pub processes: u64,
    /// Programs started.
    pub execs: u64,
    /// Files removed.
    pub files_destroyed: u64,
}

/// Paths of removed files that an enforcement record shows.
pub(super) const SAMPLE_PATHS: usize = 16;
/// Ended sessions that are still answered for.
const KEPT_ENDED: usize = 64;

/// All sessions of this recorder.
#[derive(Debug, Default)]
pub struct Registry {
    live: HashMap<SessionNumber, Session>,
    /// The last ones that ended, by the time they did.
    ended: BTreeMap<(i64, SessionNumber), Session>,
}

impl Registry {
    /// Adds a session.
    pub fn begin(&mut self, session: Session) {
        self.live.insert(session.number, session);
    }

    /// A live one by the kernel's name.
    pub fn get_mut(&mut self, number: SessionNumber) -> Option<&mut Session> {
        self.live.get_mut(&number)
    }

    /// As [`Registry::get_mut`], to look at.
    pub fn get(&self, number: SessionNumber) -> Option<&Session> {
        self.live.get(&number)
    }

    /// A live one by its id.
    pub fn by_id(&self, id: SessionId) -> Option<&Session> {
        self.live.values().find(|session| session.id == id)
    }

    /// The live ones, oldest first.
    pub fn live(&self) -> Vec<&Session> {
        let mut sessions: Vec<_> = self.live.values().collect();
        sessions.sort_by_key(|session| session.started_boot_ns);
        sessions
    }

    /// The ended ones that are still known.
    pub fn ended(&self) -> impl Iterator<Item = &Session> {
        self.ended.values()
    }

    /// Moves a session to the ended ones.
    pub fn end(&mut self, number: SessionNumber, unix_ns: i64) -> Option<&Session> {
        let mut session = self.live.remove(&number)?;
        session.ended_unix_ns = Some(unix_ns);
        if self.ended.len() >= KEPT_ENDED {
            self.ended.pop_first();
        }
        Some(self.ended.entry((unix_ns, number)).or_insert(session))
    }
}
