//! The guard's user-space half: the policy that the kernel programs decide
//! by, and ending what is left of a session.
//!
//! Not here: counting and the first strike, which the kernel programs do
//! (`guard.rs` there) and need no answer for.

mod action;
pub mod places;
mod policy;

pub use action::{Killed, kill, signal_all};
pub use policy::Policy;
