//! Sessions: joins each event with its session and process, and makes the
//! record of it.
//!
//! Not here: reading events from the kernel (`bpf`), enforcement (`guard`), numbers
//! and storage (`record`, `spool`).

pub mod agents;
pub mod authority;
mod clock;
mod counted_object;
mod derived;
pub mod handoff;
mod links;
mod mounts;
mod observed;
mod path;
mod process;
mod registry;
mod renames;
mod snapshot;
pub mod tamper;
mod track;
mod translate;

pub use clock::{Clock, Jump, boot_ns};
pub use counted_object::Counted;
pub use derived::Derivation;
pub use mounts::MountTable;
pub use path::KnownPath;
pub use process::key_of;
pub use registry::{Registry, Session, Totalled, Totals};
pub use renames::Renames;
pub use track::{Begin, Notice, RuleName, Tracker};
pub use translate::exec;
