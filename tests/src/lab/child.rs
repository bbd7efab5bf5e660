//! Processes that a test started.

use std::process::Child;
use std::time::Duration;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Waits for a child's end; false when `limit` passed first.
///
/// # Errors
///
/// It was waited for already.
pub fn ended_within(child: &Child, limit: Duration) -> anyhow::Result<bool> {
    let pid = Pid::from_child(child);
    let handle = pidfd_open(pid, PidfdFlags::empty())
        .with_context(|| format!("open a pidfd of {}", child.id()))?;
    let limit = Timespec::try_from(limit)?;
    let ready = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))?;
    Ok(ready > 0)
}
