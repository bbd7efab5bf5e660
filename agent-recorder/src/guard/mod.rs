//! The guard's user-space half: the policy that the kernel programs decide
//! by, and ending what is left of a session.
//!
//! Not here: counting and the first strike, which the kernel programs do
//! (`guard.rs` there) and need no answer for.

mod action;
mod cgroup;
mod members;
pub mod places;
mod policy;
mod survivor;

pub use action::{Frozen, Killed, freeze, kill, thaw};
pub use policy::Policy;
