//! Tags from user space: putting a task into a session, and asking which one it is in.
//!
//! By pidfd: a pid that is used again can never be taken for the old process.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use agent_recorder_abi::state::{SessionNumber, Tag};
use aya::maps::MapData;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Error, bpf};

/// The tags of all tasks (BPF task storage).
#[derive(Debug)]
pub struct Tags {
    map: MapData,
}

impl Tags {
    pub(super) fn new(map: MapData) -> Self {
        Self { map }
    }

    fn map(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }

    /// The session of the process's main thread, `None` for one outside every session.
    ///
    /// # Errors
    ///
    /// The pidfd's process is gone (ESRCH), or bpf(2) refuses.
    pub fn session_of(&self, process: BorrowedFd<'_>) -> io::Result<Option<SessionNumber>> {
        Ok(bpf::task_tag(self.map(), process)?.map(|tag| tag.session))
    }

    /// Puts every thread of a process into a session. Threads that are made
    /// meanwhile inherit from one that has the tag, or are met by the next pass.
    /// How many threads were new to it.
    ///
    /// # Errors
    ///
    /// The process is gone, or bpf(2) refuses.
    pub fn set_process(&self, pid: u32, tag: Tag) -> Result<usize, Error> {
        let mut total = 0;
        loop {
            let new = self.set_threads(pid, tag)?;
            if new == 0 {
                return Ok(total);
            }
            total += new;
        }
    }

    fn set_threads(&self, pid: u32, tag: Tag) -> Result<usize, Error> {
        let system = |what| move |source| Error::System { what, source };
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"))
            .map_err(system("listing the threads of a process"))?;
        let mut new = 0;
        for thread in threads {
            let thread = thread.map_err(system("listing the threads of a process"))?;
            let Some(tid) = thread
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let Ok(task) = open_thread(pid, tid) else {
                continue;
            };
            if bpf::task_tag(self.map(), task.as_fd())
                .map_err(system("reading a tag"))?
                .is_none()
            {
                bpf::set_task_tag(self.map(), task.as_fd(), tag)
                    .map_err(system("setting a tag"))?;
                new += 1;
            }
        }
        Ok(new)
    }

    /// Takes a process's main thread out of its session.
    ///
    /// # Errors
    ///
    /// The process is gone, or bpf(2) refuses.
    pub fn clear(&self, process: BorrowedFd<'_>) -> io::Result<()> {
        bpf::clear_task_tag(self.map(), process)
    }
}

/// PIDFD_THREAD (pidfd_open(2), 6.9).
const PIDFD_THREAD: u32 = libc::O_EXCL.cast_unsigned();

/// A pidfd of one thread; before 6.9 only a main thread has one.
fn open_thread(pid: u32, tid: u32) -> io::Result<OwnedFd> {
    let id = i32::try_from(tid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or(io::ErrorKind::InvalidInput)?;
    let flags = if pid == tid {
        PidfdFlags::empty()
    } else {
        PidfdFlags::from_bits_retain(PIDFD_THREAD)
    };
    Ok(pidfd_open(id, flags)?)
}
