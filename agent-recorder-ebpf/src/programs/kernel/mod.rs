//! The kernel's structures and registers, and the differences between its versions.
//!
//! Not here: sessions and events.

pub(crate) mod compat;
pub(crate) mod counters;
pub(crate) mod global;
pub(crate) mod preempt_guard;
pub(crate) mod read;
pub(crate) mod registers;
pub(crate) mod replica;
pub(crate) mod types;
pub(crate) mod uapi;
