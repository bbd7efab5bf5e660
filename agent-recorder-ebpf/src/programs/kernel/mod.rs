//! The kernel as the programs see it: its structures, its registers, and what
//! differs between its versions.
//!
//! Not here: anything that knows sessions or events.

pub(crate) mod compat;
pub(crate) mod counters;
pub(crate) mod global;
pub(crate) mod preempt_guard;
pub(crate) mod read;
pub(crate) mod registers;
pub(crate) mod replica;
pub(crate) mod types;
pub(crate) mod uapi;
