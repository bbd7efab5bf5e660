//! Errors of the spool: each input or output error has its path.

use std::io;
use std::path::{Path, PathBuf};

/// An error of the spool.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no stream to read.
    #[error("no recorded stream in {path}; record one with `agent-recorder run -- CMD`")]
    Empty {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is not safe for records.
    #[error("{path} is not safe to keep records in: it {why}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The file has another format.
    #[error("{path} is not a segment of this version: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

impl Error {
    /// Whether the cause is a full disk.
    pub(super) fn is_full(&self) -> bool {
        let Self::Io { source, .. } = self else {
            return false;
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// Adds the operation and the path to an I/O error.
pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        what,
        path: path.to_owned(),
        source,
    }
}
