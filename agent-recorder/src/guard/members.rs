//! The processes of a session, by tag alone: a process with a reused pid has no tag.
//!
//! Not here: ending or stopping them (`action`, `cgroup`).

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use agent_recorder_abi::state::SessionNumber;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::bpf::Tags;

/// A process that was a living member when its tag was read.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) pid: u32,
    process: OwnedFd,
}

impl Member {
    /// Whether its program is held at the gate and has to stay stopped.
    pub(super) fn is_held(&self, tags: &Tags) -> bool {
        let held = tags.held_image(self.pid, self.process.as_fd());
        held.is_ok_and(|image| image.is_some())
    }

    /// Whether it is stopped by a signal (state T of proc_pid_stat(5)).
    pub(super) fn is_stopped(&self) -> bool {
        let stat = std::fs::read(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The name, which can contain anything, ends at the last parenthesis.
        let after = stat.rsplit(|&byte| byte == b')').next();
        after.is_some_and(|fields| fields.starts_with(b" T"))
    }

    /// Whether the signal was delivered; false when the process has ended.
    pub(super) fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.process, signal).is_ok()
    }
}

/// All members of a session that `/proc` lists.
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

/// Every process that is in a session, with the session's number.
///
/// # Errors
///
/// /proc cannot be read, or no descriptor is left, so that membership is unknown.
pub fn tagged(tags: &Tags) -> io::Result<Vec<(u32, SessionNumber)>> {
    let mut tagged = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        let Some(id) = id.and_then(Pid::from_raw) else {
            continue;
        };
        let process = match pidfd_open(id, PidfdFlags::empty()) {
            // The process has ended.
            Err(Errno::SRCH) => continue,
            process => process?,
        };
        let pid = id.as_raw_nonzero().get().unsigned_abs();
        // A failure here means that the process has ended.
        let session = tags.session_of(pid, process.as_fd()).ok().flatten();
        if let Some(session) = session.filter(|_| !has_ended(process.as_fd())) {
            tagged.push((pid, session));
        }
    }
    Ok(tagged)
}

/// The process of this pid, if it is a member.
pub(super) fn member(tags: &Tags, session: SessionNumber, pid: u32) -> Option<Member> {
    let id = Pid::from_raw(i32::try_from(pid).ok()?)?;
    let process = pidfd_open(id, PidfdFlags::empty()).ok()?;
    let is_member = tags.session_of(pid, process.as_fd()).ok()? == Some(session);
    (is_member && !has_ended(process.as_fd())).then_some(Member { pid, process })
}

/// Whether the process of this pid is in a session; `None` when it has ended.
pub fn is_member(tags: &Tags, pid: u32) -> Option<bool> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let process = pidfd_open(id, PidfdFlags::empty()).ok()?;
    let session = tags.session_of(pid, process.as_fd()).ok()?;
    (!has_ended(process.as_fd())).then_some(session.is_some())
}

/// The session that a process is in; `None` for one that is in none, or has ended.
pub fn session_of(tags: &Tags, pid: u32) -> Option<SessionNumber> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let process = pidfd_open(id, PidfdFlags::empty()).ok()?;
    let session = tags.session_of(pid, process.as_fd()).ok()??;
    (!has_ended(process.as_fd())).then_some(session)
}

/// Whether the process of this pid is outside the session. False for one that has
/// ended.
pub(super) fn is_outsider(tags: &Tags, session: SessionNumber, pid: u32) -> bool {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let Some(process) = id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok()) else {
        // cgroup.procs shows 0 for a process in a pid namespace outside this one's
        // descendants.
        return pid == 0;
    };
    let session_of = tags.session_of(pid, process.as_fd());
    session_of.ok().flatten() != Some(session) && !has_ended(process.as_fd())
}

/// Waits until all members have ended, at most for `most`.
pub(super) fn wait_for_ends(members: &[Member], most: Duration) {
    let deadline = Instant::now() + most;
    for member in members {
        poll_end(
            member.process.as_fd(),
            deadline.saturating_duration_since(Instant::now()),
        );
    }
}

/// A pidfd is readable once the process has ended, also while it is a zombie
/// (pidfd_open(2)).
fn has_ended(process: BorrowedFd<'_>) -> bool {
    poll_end(process, Duration::ZERO)
}

pub(super) fn poll_end(process: BorrowedFd<'_>, limit: Duration) -> bool {
    let timeout = rustix::time::Timespec {
        tv_sec: 0,
        // The limit is `PASS`, which is below a second.
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(&process, PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
}
