//! Ends or stops every process of a session: by the session's own cgroups where it
//! has some, and by pidfd until a whole pass finds no new member.
//!
//! Not here: the first strike, which the kernel programs do, and their flag, which
//! ends each member at its next call. The flag is set before `kill` is called, so
//! that no member forks away from a sweep.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use agent_recorder_abi::state::SessionNumber;
use rustix::process::Signal;

use super::{cgroup, members, survivor};
use crate::bpf::Tags;
use crate::record::proto::Survivor;

/// The result of a sweep.
#[derive(Clone, Debug, Default)]
pub struct Killed {
    /// Processes that were signalled, by pid.
    pub pids: BTreeSet<u32>,
    /// Members that still live after the last pass, and the reasons.
    pub survivors: Vec<Survivor>,
    /// Cgroups that were ended as a whole.
    pub cgroups: BTreeSet<PathBuf>,
}

/// The result of a freeze.
#[derive(Clone, Debug, Default)]
pub struct Frozen {
    /// The processes.
    pub pids: BTreeSet<u32>,
    /// Cgroups that were frozen as a whole; their members got no signal.
    pub cgroups: BTreeSet<PathBuf>,
}

/// Most passes, after which the remaining members count as survivors. A pass that
/// found a member waits for its end first.
const MAX_PASSES: usize = 20;
/// Longest wait of one pass: an exit that frees gigabytes of memory takes that long.
/// All passes take 2 s, for which the rings buffer events.
const PASS: Duration = Duration::from_millis(100);

/// Ends every member of a session.
pub fn kill(tags: &Tags, session: SessionNumber) -> Killed {
    let mut killed = Killed::default();
    for _ in 0..MAX_PASSES {
        let found = members::of_session(tags, session);
        if found.is_empty() {
            return killed;
        }
        for own in cgroup::own(tags, session, &found) {
            if cgroup::kill(&own) {
                killed.cgroups.insert(own);
            }
        }
        for member in &found {
            if member.signal(Signal::KILL) {
                killed.pids.insert(member.pid);
            }
        }
        members::wait_for_ends(&found, PASS);
    }
    killed.survivors = members::of_session(tags, session)
        .iter()
        .filter_map(|member| survivor::examine(member.pid))
        .collect();
    killed
}

/// Stops every member.
pub fn freeze(tags: &Tags, session: SessionNumber) -> Frozen {
    let mut frozen = Frozen::default();
    let found = members::of_session(tags, session);
    for own in cgroup::own(tags, session, &found) {
        if cgroup::freeze(&own) {
            frozen.cgroups.insert(own);
        }
    }
    frozen.pids = signal_all(tags, session, Signal::STOP, &frozen.cgroups);
    frozen
}

/// Lets every member continue. The caller clears the kernel's flag first; otherwise
/// the next call would stop the member again.
pub fn thaw(tags: &Tags, session: SessionNumber, cgroups: &BTreeSet<PathBuf>) -> BTreeSet<u32> {
    cgroups.iter().for_each(|own| cgroup::thaw(own));
    signal_all(tags, session, Signal::CONT, &BTreeSet::new())
}

/// Stops these processes, as far as they are members: those that act meanwhile, the kernel
/// programs stop.
pub fn stop<'a>(tags: &Tags, session: SessionNumber, pids: impl IntoIterator<Item = &'a u32>) {
    for pid in pids {
        if let Some(member) = members::member(tags, session, *pid) {
            // False for one that has ended, which needs no stop.
            member.signal(Signal::STOP);
        }
    }
}

/// Lets those of these processes continue that are stopped members.
///
/// `may_run` says whether the session is free now. It is asked once a member is seen to be
/// stopped: a session that meets its next limit in between has stopped the member anew.
pub fn wake_known<'a>(
    tags: &Tags,
    session: SessionNumber,
    pids: impl IntoIterator<Item = &'a u32>,
    may_run: impl Fn() -> bool,
) {
    for pid in pids {
        if let Some(member) = members::member(tags, session, *pid) {
            wake_stopped(tags, &member, &may_run);
        }
    }
}

/// As [`wake_known`], for every member.
pub fn wake(tags: &Tags, session: SessionNumber, may_run: impl Fn() -> bool) {
    for member in members::of_session(tags, session) {
        wake_stopped(tags, &member, &may_run);
    }
}

fn wake_stopped(tags: &Tags, member: &members::Member, may_run: impl Fn() -> bool) {
    if member.is_stopped() && !member.is_held(tags) && may_run() {
        // False for one that has ended, which needs no signal.
        member.signal(Signal::CONT);
    }
}

/// Signals every member, pass by pass until one finds no new member: a member can
/// fork before its signal arrives. Members in `spared` need no signal.
fn signal_all(
    tags: &Tags,
    session: SessionNumber,
    signal: Signal,
    spared: &BTreeSet<PathBuf>,
) -> BTreeSet<u32> {
    let mut reached = BTreeSet::new();
    for _ in 0..MAX_PASSES {
        let before = reached.len();
        for member in members::of_session(tags, session) {
            // A person decides about a program that waits at the gate.
            let stays = signal == Signal::CONT && member.is_held(tags);
            let is_done = stays || reached.contains(&member.pid);
            if !is_done && (cgroup::holds(spared, &member) || member.signal(signal)) {
                reached.insert(member.pid);
            }
        }
        if reached.len() == before {
            break;
        }
    }
    reached
}
