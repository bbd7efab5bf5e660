//! Reads of files that a session can have planted: regular ones only, and bounded.
//!
//! Not here: whether the directories above are real (`ground`).

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::loss::Fault;

/// Opens a regular file. A FIFO does not block, and a link at the end is not followed.
pub(super) fn open_regular(path: &Path) -> Result<(File, Metadata), Fault> {
    let unreadable = |source: io::Error| Fault::Unreadable {
        path: path.to_owned(),
        source,
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::LOOP) => return Err(Fault::WrongKind(path.to_owned())),
        Err(error) => return Err(unreadable(error.into())),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(Fault::WrongKind(path.to_owned()))
    }
}

/// The contents of a regular file.
pub(super) fn read_bounded(path: &Path, most: u64) -> Result<Vec<u8>, Fault> {
    let (file, metadata) = open_regular(path)?;
    read_open(path, &file, &metadata, most)
}

/// The contents of an open file. What is appended meanwhile is not read: the bound
/// holds for a file that grows, too.
pub(super) fn read_open(
    path: &Path,
    file: &File,
    metadata: &Metadata,
    most: u64,
) -> Result<Vec<u8>, Fault> {
    let size = metadata.len();
    if size > most {
        let path = path.to_owned();
        return Err(Fault::TooLong { path, size, most });
    }
    // One more byte lets the last read find the end without growing.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
    let read = file.take(most).read_to_end(&mut bytes);
    read.map_err(|source| Fault::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_blocks_no_reader() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RWXU).unwrap();
        let result = read_bounded(&fifo, 10);
        assert!(matches!(result, Err(Fault::WrongKind(_))), "{result:?}");
    }
}
