//! The error that ends a recorder.

use crate::{bpf, spool};

/// An error that ends the recorder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the kernel side.
    #[error(transparent)]
    Kernel(#[from] bpf::Error),
    /// An error of the store.
    #[error(transparent)]
    Spool(#[from] spool::Error),
}
