//! Ending every process of a session, or stopping it: by its own cgroups where
//! it has some, and by pidfd until a whole pass finds nobody.
//!
//! Not here: the first strike, which the kernel programs do, and their mark,
//! which ends each member at its next call. It is set before `kill` is called:
//! nobody forks away from a sweep.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use agent_recorder_abi::state::SessionNumber;
use rustix::process::Signal;

use super::{cgroup, members, survivor};
use crate::bpf::Tags;
use crate::record::proto::Survivor;

/// What a sweep did.
#[derive(Clone, Debug, Default)]
pub struct Killed {
    /// Processes that were signalled, by pid.
    pub pids: BTreeSet<u32>,
    /// Members that live on after the last pass, and why.
    pub survivors: Vec<Survivor>,
    /// Cgroups that were ended as a whole.
    pub cgroups: BTreeSet<PathBuf>,
}

/// What was stopped.
#[derive(Clone, Debug, Default)]
pub struct Frozen {
    /// The processes.
    pub pids: BTreeSet<u32>,
    /// Cgroups that were stopped as a whole: in these nobody got a signal.
    pub cgroups: BTreeSet<PathBuf>,
}

/// Passes before those that are left are called survivors. A pass that found
/// somebody waits for that somebody's end first.
const MAX_PASSES: usize = 20;
/// How long one pass waits: an exit that frees memory by the gigabyte takes as
/// long. With all passes 2 s, in which the rings hold what comes.
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

/// Lets every member go on. The kernel's mark is taken away before, or the
/// next call would stop it again.
pub fn thaw(tags: &Tags, session: SessionNumber, cgroups: &BTreeSet<PathBuf>) -> BTreeSet<u32> {
    cgroups.iter().for_each(|own| cgroup::thaw(own));
    signal_all(tags, session, Signal::CONT, &BTreeSet::new())
}

/// Sends a signal to every member, pass by pass until one meets nobody new: a
/// member can fork before its signal reaches it. Those in `spared` are met, but
/// need none.
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
            // Of those that wait at the gate, a person decides.
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
