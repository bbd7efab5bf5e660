//! The recorder: one thread that carries events from the rings through
//! session and guard into the spool.
//!
//! `recorder` is the loop. Each stage owns its state, and is called with each batch
//! or at each turn: `exec_gate`, `written_files`, `self_check`, `losses`,
//! `operators`, `enforcement`, `judgements`. `core` has the state that every stage works on.
//! `start` begins a recorder; `takeover` ends it and hands over to the next.
//!
//! Not here: the decisions of any room. The loop only carries.

mod core;
mod enforcement;
mod error;
mod exec_gate;
mod judgements;
mod losses;
mod operators;
mod processes;
mod recorder;
mod records;
mod requests;
mod self_check;
mod setup;
mod start;
mod takeover;
mod written_files;

pub use error::Error;
pub use recorder::Recorder;
pub use self_check::{BY_URING, WITHOUT};
pub use setup::Setup;
