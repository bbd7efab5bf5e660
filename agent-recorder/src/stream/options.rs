//! Which stream is sent where.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::identity::HostKeys;
use crate::record::StreamId;

/// Where to, and what.
#[derive(Clone, Debug)]
pub struct Options {
    /// `https://HOST:PORT`, or `http://HOST:PORT` without TLS.
    pub collector: String,
    /// What the host shows, and knows the collector by; for `https` only.
    pub keys: Option<Arc<HostKeys>>,
    /// The folder of streams.
    pub spool: PathBuf,
    /// The stream.
    pub stream: StreamId,
}

/// The file beside a stream that says how far it is acknowledged.
pub(crate) fn acknowledged_path(spool: &Path, stream: StreamId) -> PathBuf {
    spool.join(stream.to_string()).join("acked")
}
