//! The processes of a session, by tag alone: a pid that is used again has none.
//!
//! Not here: what is done to them (`action`, `cgroup`).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use agent_recorder_abi::state::SessionNumber;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::bpf::Tags;

/// A process that was a member, and had not ended, when it was looked for.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: u32,
    process: OwnedFd,
}

impl Member {
    /// Whether its program waits to be judged: it has to stay stopped.
    pub(super) fn is_held(&self, tags: &Tags) -> bool {
        let held = tags.held_image(self.pid, self.process.as_fd());
        held.is_ok_and(|image| image.is_some())
    }

    /// Whether it got the signal; not when it has ended.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.process, signal).is_ok()
    }
}

/// All of a session's, as `/proc` has them.
pub(super) fn of_session(tags: &Tags, session: SessionNumber) -> Vec<Member> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            member(tags, session, pid)
        })
        .collect()
}

/// Every process that is in a session, with that session.
///
/// # Errors
///
/// /proc cannot be read, or there is no descriptor left: nobody is known to be in none then.
pub fn tagged(tags: &Tags) -> io::Result<Vec<(u32, SessionNumber)>> {
    let mut tagged = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        let Some(id) = id.and_then(Pid::from_raw) else {
            continue;
        };
        let process = match pidfd_open(id, PidfdFlags::empty()) {
            // It ended.
            Err(Errno::SRCH) => continue,
            process => process?,
        };
        let pid = id.as_raw_nonzero().get().unsigned_abs();
        // It ended, too.
        let session = tags.session_of(pid, process.as_fd()).ok().flatten();
        if let Some(session) = session.filter(|_| !has_ended(process.as_fd())) {
            tagged.push((pid, session));
        }
    }
    Ok(tagged)
}

/// The process of this number, if it is one.
pub(super) fn member(tags: &Tags, session: SessionNumber, pid: u32) -> Option<Member> {
    let id = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let process = pidfd_open(id, PidfdFlags::empty()).ok()?;
    let is_member = tags.session_of(pid, process.as_fd()).ok()? == Some(session);
    (is_member && !has_ended(process.as_fd())).then_some(Member { pid, process })
}

/// Whether the process of this number is in a session; `None` when it has ended.
pub fn is_member(tags: &Tags, pid: u32) -> Option<bool> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let process = pidfd_open(id, PidfdFlags::empty()).ok()?;
    let session = tags.session_of(pid, process.as_fd()).ok()?;
    (!has_ended(process.as_fd())).then_some(session.is_some())
}

/// Whether the process of this number is outside the session: one that has
/// ended meanwhile is not.
pub(super) fn is_outsider(tags: &Tags, session: SessionNumber, pid: u32) -> bool {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(process) = id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok()) else {
        // cgroup.procs has 0 for one of a pid namespace that is not below this one.
        return pid == 0;
    };
    let session_of = tags.session_of(pid, process.as_fd());
    session_of.ok().flatten() != Some(session) && !has_ended(process.as_fd())
}

/// Waits until all have ended, or for so long.
pub(super) fn wait_for_ends(members: &[Member], most: Duration) {
    let deadline = Instant::now() + most;
    for member in members {
        poll_end(
            member.process.as_fd(),
            deadline.saturating_duration_since(Instant::now()),
        );
    }
}

/// A pidfd is readable from the process's end on, also while it waits for its parent (pidfd_open(2)).
fn has_ended(process: BorrowedFd<'_>) -> bool {
    poll_end(process, Duration::ZERO)
}

pub(super) fn poll_end(process: BorrowedFd<'_>, limit: Duration) -> bool {
    let timeout = rustix::time::Timespec {
        tv_sec: 0,
        // Below a second: `PASS`.
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
}
