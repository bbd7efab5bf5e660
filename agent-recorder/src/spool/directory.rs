//! The directory of the streams, which no other user can change, and the lock of a
//! stream's writer.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use super::Error;
use super::error::io;
use crate::record::StreamId;

/// The sticky bit: only a file's owner may rename it (inode(7), S_ISVTX).
const STICKY: u32 = 0o1000;

/// Creates the directory, readable by its owner only, and refuses one that others
/// could change.
pub(super) fn prepare(directory: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io("create", directory))?;
    let about = fs::symlink_metadata(directory).map_err(io("look at", directory))?;
    let refuse = |why| {
        Err(Error::Unsafe {
            path: directory.to_owned(),
            why,
        })
    };
    if about.is_symlink() {
        return refuse("is a symbolic link");
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return refuse("belongs to another user");
    }
    if about.mode() & 0o022 != 0 {
        return refuse("can be written by others");
    }
    check_above(directory)
}

/// Refuses a directory whose path is a symbolic link: whoever can change the link
/// chooses another directory.
pub(super) fn refuse_link(directory: &Path) -> Result<(), Error> {
    let about = fs::symlink_metadata(directory).map_err(io("look at", directory))?;
    if about.is_symlink() {
        return Err(Error::Unsafe {
            path: directory.to_owned(),
            why: "is a symbolic link; name what it leads to",
        });
    }
    Ok(())
}

/// Refuses a directory below one that others can write to: they can replace it.
fn check_above(directory: &Path) -> Result<(), Error> {
    let named = std::path::absolute(directory).map_err(io("find", directory))?;
    let real = fs::canonicalize(directory).map_err(io("find", directory))?;
    let above = named.ancestors().skip(1).chain(real.ancestors().skip(1));
    for path in above {
        let about = fs::symlink_metadata(path).map_err(io("look at", path))?;
        let refuse = |why| {
            Err(Error::Unsafe {
                path: path.to_owned(),
                why,
            })
        };
        if ![0, rustix::process::geteuid().as_raw()].contains(&about.uid()) {
            return refuse("belongs to another user, who can change what is below it");
        }
        // For a link its target counts, which is among the real directories. In a
        // sticky directory nobody renames another user's file; group 0 is root's.
        let others = about.mode() & 0o002 != 0 || about.mode() & 0o020 != 0 && about.gid() != 0;
        if !about.is_symlink() && others && about.mode() & STICKY == 0 {
            return refuse("can be written by others, who can change what is below it");
        }
    }
    Ok(())
}

/// Creates a stream's folder.
pub(super) fn create_stream(directory: &Path, stream: StreamId) -> Result<PathBuf, Error> {
    let folder = directory.join(stream.to_string());
    DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(io("create", &folder))?;
    let handle = File::open(directory).map_err(io("open", directory))?;
    handle.sync_all().map_err(io("sync", directory))?;
    Ok(folder)
}

/// The right to write a stream, until this value is dropped.
#[derive(Debug)]
pub(super) struct Lock(pub(super) File);

impl Drop for Lock {
    /// Closing the file is not enough: a child that another thread is just starting
    /// has the file open until its exec (flock(2)).
    fn drop(&mut self) {
        // If this fails, closing the file releases the lock, although later.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

/// Time for which a process that tidies may have a stream's lock.
const MOMENT: Duration = Duration::from_secs(1);
const PACE: Duration = Duration::from_millis(10);

/// As [`try_lock`], but waits for a process that only tidies.
pub(super) fn lock_soon(folder: &Path) -> Result<Option<Lock>, Error> {
    let begun = Instant::now();
    loop {
        let lock = try_lock(folder)?;
        if lock.is_some() || begun.elapsed() > MOMENT {
            return Ok(lock);
        }
        // flock(2) has no timeout.
        std::thread::sleep(PACE);
    }
}

/// Locks a stream for writing; `None` when another process writes it.
pub(super) fn try_lock(folder: &Path) -> Result<Option<Lock>, Error> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(io("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(io("lock", &path)(errno.into())),
    }
}
