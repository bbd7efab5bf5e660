//! Tags from user space: puts a task into a session, and reads the session of a task.
//!
//! A reused pid is never taken for the old process. Where tags lie on tasks, a pidfd
//! names the process; where they lie in a map, see `set_by_thread`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use agent_recorder_abi::state::{SessionNumber, Tag, TaggedTask};
use aya::maps::{Map, MapData};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::error::{map_error, missing};
use super::{Error, commands};

/// The tags of all tasks.
#[derive(Debug)]
pub struct Tags {
    kept: Kept,
}

/// Where the kernel programs store the tags.
#[derive(Debug)]
enum Kept {
    /// On the task (BPF task storage), by pidfd.
    OnTask(MapData),
    /// In a map, by the thread's id; the programs remove them as threads end.
    ByThread(MapData),
}

impl Tags {
    /// Wraps the programs' map of tags.
    ///
    /// # Errors
    ///
    /// The map is of another type, or its values have another size.
    pub(super) fn of(map: Map) -> Result<Self, Error> {
        let (kept, size) = match map {
            Map::Unsupported(map) => (Kept::OnTask(map), size_of::<Tag>()),
            Map::HashMap(map) => (Kept::ByThread(map), size_of::<TaggedTask>()),
            _ => return Err(missing("TAGS")),
        };
        let (Kept::OnTask(map) | Kept::ByThread(map)) = &kept;
        let info = map.info().map_err(|error| map_error("TAGS", &error))?;
        // A lookup writes to memory of the size that this binary expects.
        if info.value_size() as usize == size {
            Ok(Self { kept })
        } else {
            Err(missing("TAGS"))
        }
    }

    /// The session of a process's main thread; `None` outside every session.
    /// `process` is the pidfd: the answer is valid if the process has not ended
    /// afterwards.
    ///
    /// # Errors
    ///
    /// The pidfd's process is gone (ESRCH), or bpf(2) refuses.
    pub fn session_of(
        &self,
        pid: u32,
        process: BorrowedFd<'_>,
    ) -> io::Result<Option<SessionNumber>> {
        let tag = self.tag_of(pid, process)?;
        Ok(tag.map(|tag| tag.session).filter(|session| *session != 0))
    }

    /// The program at which a process is stopped before its first instruction
    /// (`Tag::image`); `None` for a process that runs. `process` as for
    /// [`Tags::session_of`].
    ///
    /// # Errors
    ///
    /// As for [`Tags::session_of`].
    pub fn held_image(&self, pid: u32, process: BorrowedFd<'_>) -> io::Result<Option<u64>> {
        let tag = self.tag_of(pid, process)?;
        Ok(tag.filter(|tag| tag.held != 0).map(|tag| tag.image))
    }

    /// Clears the hold on a process that is stopped at this program. The process may
    /// then run, and still needs its SIGCONT. False when it is not stopped there any
    /// more.
    ///
    /// # Errors
    ///
    /// As for [`Tags::session_of`].
    pub fn release(&self, pid: u32, process: BorrowedFd<'_>, image: u64) -> io::Result<bool> {
        let is_held = |tag: &Tag| tag.held != 0 && tag.image == image;
        let Some(tag) = self.tag_of(pid, process)?.filter(is_held) else {
            return Ok(false);
        };
        // There is no other writer: the process is stopped, or is about to be.
        let tag = Tag { held: 0, ..tag };
        match &self.kept {
            Kept::OnTask(map) => commands::update(map.fd().as_fd(), process.as_raw_fd(), tag)?,
            Kept::ByThread(map) => {
                let map = map.fd().as_fd();
                let Some(kept) = commands::look_up::<u32, TaggedTask>(map, pid)? else {
                    return Ok(false);
                };
                commands::update(map, pid, TaggedTask { tag, ..kept })?;
            }
        }
        Ok(true)
    }

    fn tag_of(&self, pid: u32, process: BorrowedFd<'_>) -> io::Result<Option<Tag>> {
        match &self.kept {
            Kept::OnTask(map) => commands::look_up(map.fd().as_fd(), process.as_raw_fd()),
            Kept::ByThread(map) => {
                let kept: Option<TaggedTask> = commands::look_up(map.fd().as_fd(), pid)?;
                Ok(kept.map(|kept| kept.tag))
            }
        }
    }

    /// Puts every thread of a process into a session. A thread that is created in the
    /// meantime inherits the tag, or is found by the next pass. Returns how many
    /// threads got the tag.
    ///
    /// # Errors
    ///
    /// The process has ended, or bpf(2) refuses.
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
            let set = match &self.kept {
                Kept::OnTask(map) => set_on_task(map, pid, tid, tag),
                Kept::ByThread(map) => set_by_thread(map, pid, tid, tag),
            };
            new += usize::from(set.map_err(system("setting a tag"))?);
        }
        Ok(new)
    }
}

/// Tags a task. True if the thread had no tag before.
fn set_on_task(map: &MapData, pid: u32, tid: u32, tag: Tag) -> io::Result<bool> {
    let map = map.fd().as_fd();
    let Ok(task) = open_thread(pid, tid) else {
        return Ok(false);
    };
    let present: Option<Tag> = commands::look_up(map, task.as_raw_fd())?;
    if present.is_some_and(|present| present.session != 0) {
        return Ok(false);
    }
    commands::update(map, task.as_raw_fd(), tag)?;
    Ok(true)
}

/// Tags a thread in the map; true if it had no tag before. The kernel programs remove
/// the tag when the thread ends. If the thread ended before the tag was set, a
/// descriptor that names this thread, and no later one with its id, shows that
/// afterwards.
fn set_by_thread(map: &MapData, pid: u32, tid: u32, tag: Tag) -> io::Result<bool> {
    let map = map.fd().as_fd();
    let Ok(thread) = File::open(format!("/proc/{pid}/task/{tid}/stat")) else {
        return Ok(false);
    };
    if is_ending(&thread) || commands::look_up::<u32, TaggedTask>(map, tid)?.is_some() {
        return Ok(false);
    }
    commands::update(map, tid, TaggedTask { tag, start: 0 })?;
    if is_ending(&thread) {
        commands::delete(map, tid)?;
        return Ok(false);
    }
    Ok(true)
}

/// `PF_EXITING` (include/linux/sched.h): set before the programs see a thread end.
const PF_EXITING: u32 = 4;
/// Index of `flags` among the fields after the name (proc_pid_stat(5)).
const FLAGS: usize = 6;

/// Whether a thread ends or has ended, by its open `stat` file.
fn is_ending(mut thread: &File) -> bool {
    let mut stat = Vec::new();
    // Reading fails with ESRCH once the thread is gone.
    if thread.rewind().is_err() || thread.read_to_end(&mut stat).is_err() {
        return true;
    }
    let stat = String::from_utf8_lossy(&stat);
    let after_name = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    let flags = after_name.split(' ').nth(FLAGS);
    flags
        .and_then(|flags| flags.parse::<u32>().ok())
        .is_none_or(|flags| flags & PF_EXITING != 0)
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
