//! The kernel side seen from here: loading the programs, tagging tasks,
//! draining the rings, decoding events.
//!
//! Not here: what an event means for a session (`session`), and any record.

mod attached;
mod bpf;
mod calls;
mod counters;
mod decode;
mod error;
mod hooks;
mod known;
mod load;
mod loaded;
mod maps;
mod modify_return;
mod names;
mod object;
mod offsets;
mod own;
mod pins;
mod preempt;
mod previous;
mod probe;
mod programs;
mod ring;
mod source;
mod tags;

pub use bpf::map_by_number;
pub use counters::Counters;
pub use decode::{Body, Event, FileEvent, NetworkEvent, decode};
pub use error::Error;
pub use load::{Condemned, Kernel, Options};
pub use own::BPFFS;
pub use pins::{Pins, is_on_bpffs};
pub use previous::Previous;
pub use probe::{CAPABILITIES, Facts};
pub use programs::{Absent, Profile};
pub use ring::{Batch, Rings, Started};
pub use tags::Tags;
