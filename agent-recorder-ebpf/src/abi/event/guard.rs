//! The event of a session that met the guard's limit.
//!
//! Not here: the counters (`policy`).

use crate::pod::pod;

/// Body of [`Kind::Guard`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GuardBody {
    /// Destructive operations of the session, this one included.
    pub count: u64,
    /// Limit in force.
    pub limit: u64,
    /// Window in force, ns.
    pub window: u64,
    /// Not 0 when the session was condemned; 0 when the event only reports the limit.
    pub killed: u64,
    /// Not 0 when the operation over the limit was refused, and so is not part of `count`.
    pub denied: u64,
    /// The [`crate::policy::Policy`] whose limit was met.
    pub policy: u32,
    /// Always 0.
    pub spare: u32,
}

pod! { GuardBody = 48 }
