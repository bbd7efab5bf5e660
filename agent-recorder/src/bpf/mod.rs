//! The user-space half of the kernel programs: loading them, tagging tasks, draining
//! the rings, decoding events.
//!
//! Not here: the meaning of an event for a session (`session`), and any record.

mod attach;
mod btf;
mod commands;
mod counters;
mod decode;
mod error;
mod facts;
mod kernel;
mod load;
mod maps;
mod options;
mod pins;
mod ring;
mod tags;

pub use attach::hooks::{Absent, Profile};
pub use commands::{BPFFS, map_by_number};
pub use counters::Counters;
pub use decode::{Body, CountedEvent, Event, FileEvent, NetworkEvent, decode};
pub use error::Error;
pub use facts::{CAPABILITIES, Facts};
pub use kernel::Kernel;
pub use maps::sessions::Condemned;
pub use options::Options;
pub use pins::{Pins, Previous, is_on_bpffs};
pub use ring::{Batch, Rings, Started};
pub use tags::Tags;
