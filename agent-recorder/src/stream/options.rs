//! The stream to send, and its collector.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::identity::HostKeys;
use crate::record::StreamId;

/// The stream to send, and its collector.
#[derive(Clone, Debug)]
pub struct Options {
    /// `https://HOST:PORT`, or `http://HOST:PORT` without TLS.
    pub collector: String,
    /// The host's keys and the collector's CA; for `https` only.
    pub keys: Option<Arc<HostKeys>>,
    /// Directory of the streams.
    pub spool: PathBuf,
    /// The stream.
    pub stream: StreamId,
}

/// The file beside a stream that contains the acknowledged number.
pub(crate) fn acknowledged_path(spool: &Path, stream: StreamId) -> PathBuf {
    spool.join(stream.to_string()).join("acked")
}
