//! What the recorder and its stream tell each other.

use crate::record::{RecorderEvent, Seq};

/// How far a recorder has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last record that was made.
    pub last: Seq,
    /// Records lost since it started, by every cause.
    pub lost: u64,
}

/// Something about the collector that belongs into the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// `collector_fault`, `collector_behind` or `records_refused`.
    pub event: RecorderEvent,
    /// What happened.
    pub detail: String,
}

/// What a stream has on its way to the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Whether the collector has answered on the present connection.
    pub connected: bool,
    /// The last number that the collector has synced.
    pub acknowledged: Seq,
    /// Batches without an acknowledgement.
    pub batches: usize,
    /// Their bytes.
    pub bytes: usize,
}
