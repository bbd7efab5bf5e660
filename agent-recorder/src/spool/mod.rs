//! The append-only store on the host. A collector's store has the same format.
//!
//! Constraints: a stream has one writer; it has readers at any time, in any process;
//! nothing is believed without its checksum; no length in a damaged file causes an
//! allocation; a durable number is never given to another record.
//!
//! Format: `<dir>/<stream uuid>/<first seq, 20 digits>[.<attempt>].seg` has a header
//! (see `format`) and frames of length, CRC32C, sequence number and the stored
//! record; the writer locks `lock`; `head` has the last durable number. A segment
//! ends where the next one begins. Integers are little-endian.
//!
//! Operation: records are framed in memory, and written when a buffer is full, on
//! `flush` and on `sync`; `sync` makes them durable, then the head. Frames stay in
//! memory until then: after a failed sync they are written anew.
//!
//! Recovery: opening for writing cuts everything after the last good frame. Durable
//! records that cannot be read are reported as missing, and later frames stay.
//! Reading reports damage and continues after it.
//!
//! Not here: what a process or a session is.

mod directory;
mod disk;
mod earlier_streams;
mod error;
mod format;
mod growth;
mod log;
mod names;
mod outage;
mod position;
mod read;
mod replica;
mod resume;
mod retain;
mod segment;
#[expect(
    clippy::module_inception,
    reason = "the type that the room is named after"
)]
mod spool;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use error::Error;
pub use growth::Growth;
pub use read::{Cursor, Item, Store};
pub use replica::{Kept, Replica};
pub use spool::{Choice, Spool};

/// Most bytes of unsynced frames. Beyond it they are synced before more are added.
const HELD_BYTES: usize = 4 << 20;

/// Retention and segments of a stream.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Size beyond which a segment is sealed, bytes.
    pub segment_bytes: u64,
    /// Age after which a segment is sealed.
    pub segment_age: Duration,
    /// Size of all segments beyond which the oldest are removed, bytes.
    pub retain_bytes: u64,
    /// Time since its last write after which a segment is removed.
    pub retain_age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(3600),
            // The default keeps everything.
            retain_bytes: u64::MAX,
            retain_age: Duration::MAX,
        }
    }
}
