//! Tags from user space: putting a task into a session, and asking which one it is in.
//!
//! A pid that is used again is never taken for the old process: where tags lie
//! on tasks, a pidfd names the process; where they lie in a map, see `set_by_thread`.

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

/// Where the kernel programs keep them.
#[derive(Debug)]
enum Kept {
    /// On the task (BPF task storage), by pidfd.
    OnTask(MapData),
    /// In a map, by the thread's id; the programs remove them as threads end.
    ByThread(MapData),
}

impl Tags {
    /// In the programs' map for them.
    ///
    /// # Errors
    ///
    /// It is of another type, or its values are of another size.
    pub(super) fn of(map: Map) -> Result<Self, Error> {
        let (kept, size) = match map {
            Map::Unsupported(map) => (Kept::OnTask(map), size_of::<Tag>()),
            Map::HashMap(map) => (Kept::ByThread(map), size_of::<TaggedTask>()),
            _ => return Err(missing("TAGS")),
        };
        let (Kept::OnTask(map) | Kept::ByThread(map)) = &kept;
        let info = map.info().map_err(|error| map_error("TAGS", &error))?;
        // What is looked up is written to memory of the size that is known here.
        if info.value_size() as usize == size {
            Ok(Self { kept })
        } else {
            Err(missing("TAGS"))
        }
    }

    /// The session of the process's main thread, `None` for one outside every
    /// session. `process` is its pidfd: the answer is that process's if it has
    /// not ended afterwards.
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

    /// The program that a process is held at before its first instruction
    /// (`Tag::image`), `None` for one that runs. `process` as for [`Tags::session_of`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn held_image(&self, pid: u32, process: BorrowedFd<'_>) -> io::Result<Option<u64>> {
        let tag = self.tag_of(pid, process)?;
        Ok(tag.filter(|tag| tag.held != 0).map(|tag| tag.image))
    }

    /// Takes the mark off a process that is held at this program: it may run,
    /// and still needs its SIGCONT. False when it is not held there any more.
    ///
    /// # Errors
    ///
    /// As for [`Tags::session_of`].
    pub fn release(&self, pid: u32, process: BorrowedFd<'_>, image: u64) -> io::Result<bool> {
        let is_held = |tag: &Tag| tag.held != 0 && tag.image == image;
        let Some(tag) = self.tag_of(pid, process)?.filter(is_held) else {
            return Ok(false);
        };
        // Nobody else writes: the process is about to stop, or has.
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
            let set = match &self.kept {
                Kept::OnTask(map) => set_on_task(map, pid, tid, tag),
                Kept::ByThread(map) => set_by_thread(map, pid, tid, tag),
            };
            new += usize::from(set.map_err(system("setting a tag"))?);
        }
        Ok(new)
    }
}

/// Whether the thread had none yet, and has it now.
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

/// The same in the map. The thread's end removes its tag; one that ended
/// before it was set is seen afterwards, by a descriptor that names this
/// thread and no later one with its id.
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
/// Of `flags` after the name (proc_pid_stat(5)).
const FLAGS: usize = 6;

/// Whether a thread ends or has ended, by its open `stat`.
fn is_ending(mut thread: &File) -> bool {
    let mut stat = Vec::new();
    // ESRCH once it is gone.
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
