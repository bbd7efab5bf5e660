//! Files that sessions wrote, by which heirs are recognised; the key is a
//! [`crate::policy::PlaceKey`].
//!
//! The event of an heir's exec is in the gate's ring. Its session is the writer's, and its rule is
//! one of the marks below.
//!
//! Not here: the file of a script's name, which user space finds.

use crate::pod::pod;
use crate::state::SessionNumber;

/// A file that a session created or opened for writing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The last session that did so.
    pub session: SessionNumber,
    /// Time of that, CLOCK_BOOTTIME ns.
    pub time: u64,
    /// `inode.i_generation`, which differs between files that had one number.
    pub generation: u32,
    /// Always 0.
    pub spare: u32,
}

/// [`crate::event::ExecBody::rule`]: a session wrote the program's file.
pub const HEIR_BY_FILE: u32 = 1 << 31;
/// A session has a file of the name that started the program or its script. Whether the program is
/// that file is unknown, so the session is 0.
pub const HEIR_BY_NAME: u32 = 1 << 30;

/// An exec of an heir that was emitted.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmittedHeir {
    /// `start_boottime` of the process, ns.
    pub start: u64,
    /// `task_struct.self_exec_id`: number of the process's execs.
    pub exec: u64,
}

pod! { Written = 24, EmittedHeir = 16 }
