//! The guard's user-space half: ending what is left of a session.
//!
//! Not here: counting and the first kill, which the kernel program does
//! (`guard.rs` there) and needs no answer for.

mod action;

pub use action::{Killed, kill, signal_all};
