//! Paths from the kernel programs' events.
//!
//! A walked segment is the kernel's own answer (`walk`). A caller's string is joined
//! to the walked directory that it starts from, and then resolved (`resolve`): that
//! is why such a path has the flag of a caller's path.

mod known;
mod resolve;
mod walk;

pub use known::KnownPath;
pub(super) use resolve::{Resolver, Whose, join};
pub(super) use walk::{from_walk, from_walk_inside};
