//! One daemon for several tests, where loading the programs takes long: in an
//! emulated guest, which ends with all its processes.
//!
//! Not here: the end of the last daemon. On a host nothing would end it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::Timespec;
use tempfile::TempDir;

use crate::lab::daemon::Daemon;

/// Names a directory for such a daemon's state. Without it, nothing is shared.
const VARIABLE: &str = "AGENT_RECORDER_SHARED";

/// Longest time until a daemon ends; a slower one hangs.
const END_LIMIT: Duration = Duration::from_secs(60);

/// The state directory of the daemon with this configuration: the one that the last
/// test left, or a new one in its place. `None` where nothing is shared. A test in a
/// mount namespace of its own has its own daemon, because paths in another namespace
/// count as foreign.
///
/// # Errors
///
/// It does not start, or its predecessor does not end.
pub(crate) fn with(configuration: &str) -> anyhow::Result<Option<PathBuf>> {
    let Some(directory) = std::env::var_os(VARIABLE).map(PathBuf::from) else {
        return Ok(None);
    };
    // The calling thread's namespace: /proc/self would show the main thread's.
    if fs::read_link("/proc/thread-self/ns/mnt")? != fs::read_link("/proc/1/ns/mnt")? {
        return Ok(None);
    }
    fs::create_dir_all(&directory)?;
    let note = directory.join("current");
    if let Ok(state) = fs::read_to_string(&note).map(PathBuf::from) {
        if fs::read_to_string(state.join("config.toml"))? == configuration {
            return Ok(Some(state));
        }
        end(&state)?;
    }
    let daemon = Daemon::start_in(TempDir::new_in(&directory)?, configuration)?;
    let state = daemon.leave();
    fs::write(note, state.as_os_str().as_encoded_bytes())?;
    Ok(Some(state))
}

/// Ends the daemon by the pid in its lock. It is a child of another test, so this
/// process cannot wait for it.
fn end(state: &Path) -> anyhow::Result<()> {
    let pid = fs::read_to_string(state.join("daemon.lock"))?
        .trim()
        .parse()?;
    let pid = Pid::from_raw(pid).context("the lock names no process")?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    pidfd_send_signal(&process, Signal::TERM)?;
    let limit = Timespec::try_from(END_LIMIT)?;
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit))?;
    ensure!(
        ended == 1,
        "the daemon of {} outlives SIGTERM",
        state.display()
    );
    Ok(())
}
