//! Where streams are kept: a directory that nobody else can change, and one
//! writer a stream.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::Error;
use super::error::io;
use crate::record::StreamId;

/// Makes the directory, readable by its owner only, and refuses one that others could change.
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
    Ok(())
}

/// Makes a stream's folder.
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

/// Takes a stream for writing; `None` when somebody writes it.
pub(super) fn try_lock(folder: &Path) -> Result<Option<File>, Error> {
    let path = folder.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(io("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(io("lock", &path)(errno.into())),
    }
}
