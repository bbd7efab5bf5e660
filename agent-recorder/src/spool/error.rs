//! Every input or output error with its path.

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
        /// Why not.
        source: io::Error,
    },
    /// There is nothing to read.
    #[error("no recorded stream in {path}; record one with `agent-recorder run -- CMD`")]
    Empty {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It is not safe to keep records there.
    #[error("{path} is not safe to keep records in: it {why}")]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The file is of another form.
    #[error("{path} is not a segment of this version: {why}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
}

impl Error {
    /// Whether there is no room left.
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

/// Gives an I/O error its path.
pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io {
        what,
        path: path.to_owned(),
        source,
    }
}
