//! Files that sessions wrote, by which who starts them is known: how the kernel
//! remembers them, by the key of [`crate::policy::PlaceKey`].
//!
//! Who starts one is told of in the gate's ring, by an event of the exec whose
//! session is the writer's and whose rule is one of the marks below.
//! Not here: which file a script's name leads to, which user space finds out.

use crate::pod::pod;
use crate::state::SessionNumber;

/// A session made it, or opened it for writing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The session that did so last.
    pub session: SessionNumber,
    /// When it did, CLOCK_BOOTTIME ns.
    pub time: u64,
    /// `inode.i_generation`: another file of the same number has another.
    pub generation: u32,
    /// Zero.
    pub spare: u32,
}

/// [`crate::event::ExecBody::rule`]: the program's file is what the session wrote.
pub const HEIR_BY_FILE: u32 = 1 << 31;
/// A session has a file of the name that the program, or its script, was
/// started by; whose it is, if it is that file, is not known: the session is 0.
pub const HEIR_BY_NAME: u32 = 1 << 30;

/// An exec by a task outside of sessions that was told of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// When the process began, CLOCK_BOOTTIME ns.
    pub start: u64,
    /// `task_struct.self_exec_id`: how often it has exec'd.
    pub exec: u64,
}

pod! { Written = 24, Told = 16 }
