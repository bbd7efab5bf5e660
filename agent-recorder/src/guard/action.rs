//! Ending every process of a session, by pidfd, until a whole pass finds none.

use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use agent_recorder_abi::state::SessionNumber;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::kernel::Tags;

/// What a sweep did.
#[derive(Clone, Debug, Default)]
pub struct Killed {
    /// Processes that were signalled, by pid.
    pub pids: BTreeSet<u32>,
    /// Members that live on after the last pass: in uninterruptible sleep, or in the middle of a long exit.
    pub survivors: Vec<u32>,
}

/// Passes before those that are left are called survivors. A pass that found
/// somebody waits for that somebody's end first.
const MAX_PASSES: usize = 50;
/// How long one pass waits for one process to end.
const WAIT: Duration = Duration::from_millis(100);

/// Ends every member of a session. Members are known by their tag alone, which
/// a pid that is used again does not have.
pub fn kill(tags: &Tags, session: SessionNumber) -> Killed {
    let mut killed = Killed::default();
    for _ in 0..MAX_PASSES {
        let members = members(tags, session);
        killed.survivors = members.iter().map(|(pid, _)| *pid).collect();
        if members.is_empty() {
            break;
        }
        for (pid, process) in &members {
            // ESRCH: it ended between the two calls.
            if pidfd_send_signal(process, Signal::KILL).is_ok() {
                killed.pids.insert(*pid);
            }
        }
        for (_, process) in &members {
            wait_for_end(process);
        }
    }
    killed
}

/// Sends a signal to every member, pass by pass until one meets nobody new: a
/// member can fork before its signal reaches it. Those that got it.
pub fn signal_all(tags: &Tags, session: SessionNumber, signal: Signal) -> BTreeSet<u32> {
    let mut reached = BTreeSet::new();
    for _ in 0..MAX_PASSES {
        let before = reached.len();
        for (pid, process) in members(tags, session) {
            if !reached.contains(&pid) && pidfd_send_signal(&process, signal).is_ok() {
                reached.insert(pid);
            }
        }
        if reached.len() == before {
            break;
        }
    }
    reached
}

/// The session's processes that have not ended.
fn members(tags: &Tags, session: SessionNumber) -> Vec<(u32, OwnedFd)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let process = pidfd_open(
                Pid::from_raw(i32::try_from(pid).ok()?)?,
                PidfdFlags::empty(),
            )
            .ok()?;
            let is_member = tags.session_of(pid, process.as_fd()).ok()? == Some(session);
            (is_member && !has_ended(&process)).then_some((pid, process))
        })
        .collect()
}

/// A pidfd is readable from the process's end on, also while it waits for its parent (pidfd_open(2)).
fn has_ended(process: &OwnedFd) -> bool {
    poll_end(process, Duration::ZERO)
}

fn wait_for_end(process: &OwnedFd) {
    poll_end(process, WAIT);
}

fn poll_end(process: &OwnedFd, limit: Duration) -> bool {
    let timeout = rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
}
