//! From what the kernel programs saw of a path to the path itself.
//!
//! A walked segment is the kernel's own answer (`walk`). A caller's string is
//! joined to the walked directory it starts from, and resolved (`resolve`): that
//! is why such a path is marked as the caller's.

mod known;
mod resolve;
mod walk;

pub use known::KnownPath;
pub(super) use resolve::{Resolver, Whose, join};
pub(super) use walk::{from_walk, from_walk_inside};
