//! The events of the guard: a session met a limit, and an object was counted.
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
    /// Not 0 when the session is stopped until user space has judged what it destroyed.
    pub judged: u32,
}

/// Body of [`Kind::Counted`]: an object that was counted, for the judge in user space. Its
/// segment is the path within the file system, leaf first.
///
/// Objects that no hook showed, and parts of files, are counted without this event.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CountedBody {
    /// Bytes that were counted.
    pub bytes: u64,
    /// Length before the act, bytes; of a [`COUNTED_CHANGED`], after it.
    pub size: u64,
    /// `inode.i_mtime` before the act, s; of a [`COUNTED_CHANGED`], after it.
    pub modified_s: i64,
    /// The same, ns of the second.
    pub modified_ns: u32,
    /// `inode.i_mode`: kind and permissions.
    pub mode: u32,
    /// `inode.i_ino`.
    pub ino: u64,
    /// `super_block.s_dev`.
    pub dev: u32,
    /// `COUNTED_…`.
    pub effect: u32,
    /// Length of the path, bytes.
    pub path_len: u16,
    /// Not 0: the path was cut at its root side.
    pub is_cut: u16,
    /// Always 0.
    pub spare: u32,
}

/// [`CountedBody::effect`]: the object has lost the name that the path has.
pub const COUNTED_REMOVED: u32 = 1;
/// [`CountedBody::effect`]: another object has taken the name.
pub const COUNTED_REPLACED: u32 = 2;
/// [`CountedBody::effect`]: the object keeps its name, and lost what it held.
pub const COUNTED_CHANGED: u32 = 3;

pod! { GuardBody = 48, CountedBody = 56 }
