//! Sessions: their numbers and UUIDs, their members, their sums, and their ends.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use agent_recorder_abi::state::SessionNumber;

use super::path::KnownPath;
use crate::record::{SessionId, proto};

/// Sums of the recorder in a session's last record.
#[derive(Clone, Debug, Default)]
pub struct Totalled {
    /// Events that the kernel programs made, per kind.
    pub produced: Vec<proto::KindCount>,
    /// Events that arrived, per kind.
    pub delivered: Vec<proto::KindCount>,
    /// Events that were lost, per kind.
    pub lost: Vec<proto::KindCount>,
    /// Files that the guard counted for the session.
    pub guard_counted: u64,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    /// Its UUID.
    pub id: SessionId,
    /// Its number in the kernel.
    pub number: SessionNumber,
    /// The agent's name.
    pub agent: String,
    /// The rule that began it; `run` for the command.
    pub rule: String,
    /// Name that its starter gave it.
    pub name: String,
    /// How it began.
    pub origin: proto::Origin,
    /// Its first process.
    pub root: u32,
    /// Begin, CLOCK_BOOTTIME ns.
    pub started_boot_ns: u64,
    /// Begin, CLOCK_REALTIME ns.
    pub started_unix_ns: i64,
    /// End, CLOCK_REALTIME ns; `None` while it runs.
    pub ended_unix_ns: Option<i64>,
    /// Members that are known and have not ended: one pid is one process at a time.
    pub live: HashSet<u32>,
    /// The last members that ended, newest last, each with its end, CLOCK_BOOTTIME
    /// ns.
    pub(super) left: std::collections::VecDeque<(u32, u64)>,
    /// Its sums.
    pub totals: Totals,
    /// Whether the guard or an operator ended it.
    pub killed: bool,
    /// Who ended or stopped it, and why; empty while nobody did.
    pub cause: String,
    /// Members that the kernel's flag killed since the limit was met.
    pub struck: BTreeSet<u32>,
    /// Whether it met its limit: from then on the guard sends every SIGKILL.
    pub condemned: bool,
    /// Whether the guard or an operator stopped it.
    pub frozen: bool,
    /// Its own cgroups that are frozen as a whole.
    pub frozen_cgroups: BTreeSet<std::path::PathBuf>,
    /// Paths of the last files that it removed, newest last.
    pub sample: std::collections::VecDeque<KnownPath>,
}

/// Most members that are remembered after their end: the target of a signal has often
/// ended before the event of the call that sent it.
const LEFT: usize = 256;
/// Time for which the pid of an ended member counts as the member's, ns: the kernel
/// reuses a pid only after all others.
const LEFT_NS: u64 = 1_000_000_000;

impl Session {
    /// Notes the end of a member.
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
    /// Number of records.
    pub records: u64,
    /// Number of processes.
    pub processes: u64,
    /// Number of programs started.
    pub execs: u64,
    /// Number of files removed.
    pub files_destroyed: u64,
}

/// Most paths of removed files in an enforcement record.
pub(super) const SAMPLE_PATHS: usize = 16;
/// Most ended sessions that operators can ask for.
const KEPT_ENDED: usize = 64;

/// All sessions of this recorder.
#[derive(Debug, Default)]
pub struct Registry {
    live: HashMap<SessionNumber, Session>,
    /// Ended sessions, by the time of their end.
    ended: BTreeMap<(i64, SessionNumber), Session>,
}

impl Registry {
    /// Adds a session.
    pub fn begin(&mut self, session: Session) {
        self.live.insert(session.number, session);
    }

    /// A running session by its number in the kernel.
    pub fn get_mut(&mut self, number: SessionNumber) -> Option<&mut Session> {
        self.live.get_mut(&number)
    }

    /// As [`Registry::get_mut`], without changing the session.
    pub fn get(&self, number: SessionNumber) -> Option<&Session> {
        self.live.get(&number)
    }

    /// A running session by its UUID.
    pub fn by_id(&self, id: SessionId) -> Option<&Session> {
        self.live.values().find(|session| session.id == id)
    }

    /// The running sessions, oldest first.
    pub fn live(&self) -> Vec<&Session> {
        let mut sessions: Vec<_> = self.live.values().collect();
        sessions.sort_by_key(|session| session.started_boot_ns);
        sessions
    }

    /// The ended sessions that are still stored.
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
