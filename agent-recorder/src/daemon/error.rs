//! What ends a recorder.

use crate::{bpf, spool};

/// An error that ends the recorder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of the kernel side.
    #[error(transparent)]
    Kernel(#[from] bpf::Error),
    /// Of the store.
    #[error(transparent)]
    Spool(#[from] spool::Error),
}
