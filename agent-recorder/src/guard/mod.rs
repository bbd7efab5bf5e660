//! The guard's user-space half: the policy for the kernel programs, and ending the
//! remaining processes of a session.
//!
//! The gate, which programs pass before they run, is a room of its own (`gate`), and so
//! is the judge of what was destroyed (`judge`).
//!
//! Not here: counting and the first strike. The kernel programs do both (`guard`
//! there) without waiting for an answer.

mod action;
pub mod budget;
mod cgroup;
pub mod gate;
pub mod judge;
mod members;
pub mod places;
mod policy;
pub mod script;
pub mod self_protection;
mod survivor;

pub use action::{Frozen, Killed, freeze, kill, stop, thaw, wake, wake_known};
pub use cgroup::switches;
pub use members::{is_member, session_of, tagged};
pub use policy::Policy;
