//! The append-only store on the host; a collector's store has the same form.
//!
//! Constraints: one writer a stream; a reader at any time, in any process;
//! nothing is believed without its checksum; nothing is allocated by what a
//! damaged file claims.
//!
//! Format: `<dir>/<stream uuid>/<first seq, 20 digits>.seg` holds a header
//! (see `format`) and frames of length, CRC32C, sequence number and the stored
//! record; `lock` is held by the writer; `head` says how far the stream is
//! durable. Integers are little-endian.
//!
//! Operation: records are framed into memory and written when a buffer is
//! full, on `flush` and on `sync`; `sync` makes them durable, then the head.
//!
//! Recovery: opening for writing cuts what follows the last good frame of the
//! last segment; reading reports damage and goes on behind it.
//!
//! Not here: what a process or a session is.

mod error;
mod format;
mod read;
mod watch;
mod write;

pub use error::Error;
pub use read::{Cursor, Item, Store};
pub use watch::Watch;
pub use write::{Kept, Options, Replica, Spool};
