//! Messages between the recorder and its stream.

use crate::record::{RecorderEvent, Seq};

/// The progress of a recorder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of the last record.
    pub last: Seq,
    /// Records lost since the recorder started, for every cause.
    pub lost: u64,
}

/// A fact about the collector that belongs into the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// `collector_fault`, `collector_behind` or `records_refused`.
    pub event: RecorderEvent,
    /// The detail, for people.
    pub detail: String,
}

/// The state of a stream on its way to the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Whether the collector has answered on the present connection.
    pub connected: bool,
    /// The last number that the collector has synced.
    pub acknowledged: Seq,
    /// Batches without an acknowledgement.
    pub batches: usize,
    /// Bytes of those batches.
    pub bytes: usize,
}
