//! Sessions: joins each event with its session and process, and makes the
//! record of it.
//!
//! Not here: how events get out of the kernel (`bpf`), who is killed
//! (`guard`), numbers and storage (`record`, `spool`).

pub mod agents;
pub mod authority;
mod clock;
pub mod handoff;
mod kept;
mod links;
mod meaning;
mod mounts;
mod path;
mod pending;
mod process;
mod registry;
mod sights;
pub mod tamper;
mod track;
mod translate;

pub use clock::{Clock, Jump, boot_ns};
pub use meaning::Meanings;
pub use process::key_of;
pub use registry::{Registry, Session, Totalled, Totals};
pub use track::{Begin, Notice, RuleName, Tracker};
pub use translate::exec;
