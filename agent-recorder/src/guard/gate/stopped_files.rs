//! Files of a stopped program, as its root and directory show them.
//!
//! A file can lie on a file system that a session answers for (FUSE), so it is read on
//! a thread of its own, and waited for only a while.
//!
//! Not here: which files a command names (`texts`).

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat, openat2};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, tee};

use super::texts::{Content, Files};

/// Bytes of a file that are read: what stands behind them is not judged.
const BYTES: u64 = 1 << 20;
/// Bytes of a pipe that are read: as many as one holds.
const PIPE_BYTES: usize = 1 << 16;
/// How long a pipe is waited for: the program that writes it starts at the same time.
const WRITTEN_WITHIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};
/// How long a file is waited for.
const WAIT: Duration = Duration::from_millis(100);
/// Most threads that wait for files: a session can leave each without an answer.
const THREADS: usize = 8;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// The files of the program of this process.
pub(super) struct StoppedFiles {
    pub(super) pid: u32,
}

impl Files for StoppedFiles {
    fn read(&self, name: &str) -> Content {
        let (pid, name) = (self.pid, name.to_owned());
        in_time(move || {
            let name = name.strip_prefix("file://").unwrap_or(&name);
            open_as(pid, name).map_or(Content::None, read)
        })
    }

    fn input(&self) -> Content {
        let path = PathBuf::from(format!("/proc/{}/fd/0", self.pid));
        in_time(move || {
            let Ok(kind) = std::fs::metadata(&path).map(|it| it.file_type()) else {
                return Content::None;
            };
            if !kind.is_file() && !kind.is_fifo() {
                return Content::None;
            }
            // An open of its own does not move the program's position.
            let Ok(opened) = open(&path, flags(), Mode::empty()) else {
                return Content::None;
            };
            if kind.is_fifo() {
                peek(&opened)
            } else {
                read(opened)
            }
        })
    }
}

/// What a pipe holds, without taking it from the program (tee(2)).
fn peek(of: &OwnedFd) -> Content {
    let mut waiting = [PollFd::new(of, PollFlags::IN)];
    // An idle pipe says nothing, and the program waits for it as well.
    let is_there = poll(&mut waiting, Some(&WRITTEN_WITHIN)).is_ok_and(|ready| ready > 0);
    let Some((from, to)) = is_there
        .then(|| pipe_with(PipeFlags::CLOEXEC).ok())
        .flatten()
    else {
        return Content::None;
    };
    if !tee(of, &to, PIPE_BYTES, SpliceFlags::NONBLOCK).is_ok_and(|length| length > 0) {
        return Content::None;
    }
    drop(to);
    let mut bytes = Vec::new();
    match File::from(from).read_to_end(&mut bytes) {
        Ok(_) => Content::Text(String::from_utf8_lossy(&bytes).into_owned()),
        Err(_) => Content::None,
    }
}

fn flags() -> OFlags {
    OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC
}

/// Opens a file by the name that the process would use.
fn open_as(pid: u32, name: &str) -> Option<OwnedFd> {
    let directory = |of: &str| {
        let path = format!("/proc/{pid}/{of}");
        openat(
            CWD,
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .ok()
    };
    if name.starts_with('/') {
        let root = directory("root")?;
        // `..` and links stay below the root, as they do for the process.
        return openat2(root, name, flags(), Mode::empty(), ResolveFlags::IN_ROOT).ok();
    }
    openat2(
        directory("cwd")?,
        name,
        flags(),
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )
    .ok()
}

fn read(file: OwnedFd) -> Content {
    let is_regular =
        fstat(&file).is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::RegularFile);
    let mut bytes = Vec::new();
    if !is_regular
        || File::from(file)
            .take(BYTES)
            .read_to_end(&mut bytes)
            .is_err()
    {
        return Content::None;
    }
    Content::Text(String::from_utf8_lossy(&bytes).into_owned())
}

/// What the closure reads; unknown where it does not answer in time.
fn in_time(read: impl FnOnce() -> Content + Send + 'static) -> Content {
    if WAITING.fetch_add(1, Ordering::Relaxed) >= THREADS {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return Content::Unknown;
    }
    let (sender, receiver) = channel();
    let thread = std::thread::Builder::new().name("gate-file".to_owned());
    let started = thread.spawn(move || {
        let content = read();
        WAITING.fetch_sub(1, Ordering::Relaxed);
        // Nobody waits any more where it took too long.
        let _ = sender.send(content);
    });
    if started.is_err() {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return Content::Unknown;
    }
    receiver.recv_timeout(WAIT).unwrap_or(Content::Unknown)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_by_the_name_that_the_program_uses() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.sql");
        std::fs::write(&file, "drop table x").unwrap();
        let files = StoppedFiles {
            pid: std::process::id(),
        };
        let text = Content::Text("drop table x".to_owned());
        assert_eq!(files.read(file.to_str().unwrap()), text);
        let cwd = std::env::current_dir().unwrap();
        let up = "../".repeat(cwd.components().count());
        assert_eq!(files.read(&format!("{up}{}", file.display())), text);
        assert_eq!(files.read("/no/such/file"), Content::None);
        assert_eq!(files.read("/dev/zero"), Content::None);
    }

    #[test]
    fn a_pipe_is_read_and_keeps_what_it_holds() {
        let (from, to) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        rustix::io::write(&to, b"drop table x").unwrap();
        let text = Content::Text("drop table x".to_owned());
        assert_eq!((peek(&from), peek(&from)), (text.clone(), text));
        drop(to);
        let mut rest = String::new();
        File::from(from).read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "drop table x");
    }

    #[test]
    fn a_file_that_does_not_answer_is_unknown() {
        let (sender, receiver) = channel::<()>();
        let content = in_time(move || {
            let _ = receiver.recv();
            Content::None
        });
        assert_eq!(content, Content::Unknown);
        drop(sender);
    }
}
