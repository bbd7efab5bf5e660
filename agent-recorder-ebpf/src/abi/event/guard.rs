//! That the guard's limit was met.
//!
//! Not here: how it counts (`policy`).

use crate::pod::pod;

/// Body of [`Kind::Guard`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GuardBody {
    /// Destructive operations of the session, this one included.
    pub count: u64,
    /// The limit in force.
    pub limit: u64,
    /// The window in force, ns.
    pub window: u64,
    /// Not 0 when the session was condemned, 0 when only told of.
    pub killed: u64,
    /// Not 0 when the operation over the limit was refused, and is not in `count`.
    pub denied: u64,
    /// [`crate::policy::Policy`].
    pub policy: u32,
    /// Zero.
    pub spare: u32,
}

pod! { GuardBody = 48 }
