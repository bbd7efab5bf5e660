//! The append-only store on the host; a collector's store has the same form.
//!
//! Constraints: one writer a stream; a reader at any time, in any process;
//! nothing is believed without its checksum; nothing is allocated by what a
//! damaged file claims; a number that was durable is never given again.
//!
//! Format: `<dir>/<stream uuid>/<first seq, 20 digits>[.<attempt>].seg` holds a
//! header (see `format`) and frames of length, CRC32C, sequence number and the
//! stored record; `lock` is held by the writer; `head` says how far the stream
//! is durable. A segment ends where the next one begins. Integers are
//! little-endian.
//!
//! Operation: records are framed into memory and written when a buffer is
//! full, on `flush` and on `sync`; `sync` makes them durable, then the head.
//! Frames stay in memory until then: after a failed sync they are written anew.
//!
//! Recovery: opening for writing cuts what follows the last good frame; what
//! was durable and cannot be read is told of, and later frames stay. Reading
//! reports damage and goes on behind it.
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

/// Frames that are not synced are held up to this, bytes; then they are synced before more come.
const HELD_BYTES: usize = 4 << 20;

/// How to keep a stream.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment is sealed when it has grown beyond this, bytes.
    pub segment_bytes: u64,
    /// A segment is sealed when it was begun so long ago.
    pub segment_age: Duration,
    /// The oldest segments are taken away when all are larger than this, bytes.
    pub retain_bytes: u64,
    /// A segment is taken away when it was last written so long ago.
    pub retain_age: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            segment_age: Duration::from_secs(3600),
            // Who does not say how long, keeps everything.
            retain_bytes: u64::MAX,
            retain_age: Duration::MAX,
        }
    }
}
