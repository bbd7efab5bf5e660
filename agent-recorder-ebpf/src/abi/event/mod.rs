//! Events in the rings: a [`Header`], the body of the kind, then the body's segments
//! of bytes, whose lengths are in the body.
//!
//! A walked path is a segment of names, leaf first, each ended by a NUL: the kernel
//! programs walk from the leaf to the root, and reversing the order would cost them a
//! second pass. A segment of one NUL is the root itself.

mod control;
mod file;
mod guard;
mod process;
mod socket;

use crate::pod::pod;
use crate::state::SessionNumber;

pub use control::{CONTROL_NESTED, ControlBody, ControlOp};
pub use file::{
    FILE_DESCRIPTOR, FILE_EXTRA_CUT, FILE_FOLLOWS, FILE_IN_FILE_SYSTEM, FILE_KERNEL_PATH,
    FILE_OWNER, FILE_PATH_CUT, FILE_PATH_UNREADABLE, FILE_PENDING, FILE_SECOND_PATH_CUT,
    FILE_SECOND_WALK_CUT, FILE_SEEN, FILE_WALK_CUT, FileBody, Op, REPLACED_NOTHING,
    REPLACED_SOMETHING, REPLACED_UNKNOWN, WALKED_DETACHED,
};
pub use guard::{COUNTED_CHANGED, COUNTED_REMOVED, COUNTED_REPLACED, CountedBody, GuardBody};
pub use process::{
    EXEC_ARGV_CUT, EXEC_FILELESS, EXEC_FILENAME_CUT, ExecBody, ExitBody, ForkBody, SessionBody,
};
pub use socket::{DnsBody, NetBody, NetOp, SOCKET_CONNECTED, SOCKET_FRESH, SOCKET_PENDING};

/// Kinds of events. Each has its own counters and one of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// A rule began a session.
    Session = 0,
    /// A program was started, or failed to start.
    Exec = 1,
    /// A process ended.
    Exit = 2,
    /// A process was made.
    Fork = 3,
    /// A name was removed: unlink and rmdir.
    Delete = 4,
    /// A session met the guard's limit.
    Guard = 5,
    /// The result of a request of io_uring that was announced.
    Uring = 6,
    /// A name that is to be removed, or a program that is to be started, as a
    /// security hook sees it.
    Victim = 7,
    /// Any other file operation.
    File = 8,
    /// An open that created no file.
    Open = 9,
    /// A socket operation.
    Network = 10,
    /// A DNS question.
    Dns = 11,
    /// The object of any other file operation, as a security hook sees it.
    Object = 12,
    /// An act on another process, or on the kernel's programs.
    Control = 13,
    /// An object was counted against the budgets of a session that the judge observes.
    Counted = 14,
}

/// Number of kinds.
pub const KINDS: usize = 15;

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; KINDS] = [
        Self::Session,
        Self::Exec,
        Self::Exit,
        Self::Fork,
        Self::Delete,
        Self::Guard,
        Self::Uring,
        Self::Victim,
        Self::File,
        Self::Open,
        Self::Network,
        Self::Dns,
        Self::Object,
        Self::Control,
        Self::Counted,
    ];

    /// Whether events of the kind go through the priority ring, which a flood of the
    /// others cannot fill.
    ///
    /// Control events share the ring of forks and exits, because their order shows
    /// whether the other process is a member.
    pub const fn is_priority(self) -> bool {
        (self as u16) <= (Self::Victim as u16) || matches!(self, Self::Control | Self::Counted)
    }

    /// Name of the kind in loss records and totals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Exec => "exec",
            Self::Exit => "exit",
            Self::Fork => "fork",
            Self::Delete => "delete",
            Self::Guard => "guard",
            Self::Uring => "uring",
            Self::Victim => "victim",
            Self::File => "file",
            Self::Open => "open",
            Self::Network => "network",
            Self::Dns => "dns",
            Self::Object => "object",
            Self::Control => "control",
            Self::Counted => "counted",
        }
    }

    /// The kind of a number in a header.
    pub const fn from_number(number: u16) -> Option<Self> {
        if (number as usize) < KINDS {
            Some(Self::ALL[number as usize])
        } else {
            None
        }
    }
}

/// The beginning of every event.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// CLOCK_BOOTTIME, ns.
    pub time: u64,
    /// Session of the process.
    pub session: SessionNumber,
    /// `start_boottime` of the thread group's leader, ns.
    pub start_time: u64,
    /// Thread group id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Thread group id of the real parent.
    pub ppid: u32,
    /// Real uid, in the initial user namespace.
    pub uid: u32,
    /// Login uid (`task_struct.loginuid`), `u32::MAX` where none was set.
    pub loginuid: u32,
    /// [`Kind`].
    pub kind: u16,
    /// Always 0.
    pub spare: u16,
    /// cgroup v2 id (its inode number).
    pub cgroup: u64,
    /// `task_struct.comm`.
    pub comm: [u8; 16],
}

/// The operation came through a system call.
pub const VIA_SYSCALL: u8 = 1;
/// The operation came through io_uring.
pub const VIA_URING: u8 = 2;

pod! { Header = 72 }

/// Failures of the kernel programs, counted per CPU; user space makes loss records of
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Trouble {
    /// A task could not be tagged, and runs outside its session without records.
    TagFailed = 0,
    /// A session could not be counted, and the guard does not see it.
    SessionMapFull = 1,
    /// A request of io_uring could not be stored, and its result is unknown.
    UringMapFull = 2,
    /// A path was deeper than the walk, and was cut.
    WalkCut = 3,
    /// Too many hooks were running on one CPU, and an event was not made.
    AreasTaken = 4,
    /// Several deletes of a session may have been counted as one (kernels before 5.17).
    CountContended = 5,
    /// The gate's ring was full: a gated program was ended, or an heir's exec is unrecorded.
    GateFull = 6,
}

/// Number of troubles.
pub const TROUBLES: usize = 7;

impl Trouble {
    /// All troubles, in the order of their numbers.
    pub const ALL: [Self; TROUBLES] = [
        Self::TagFailed,
        Self::SessionMapFull,
        Self::UringMapFull,
        Self::WalkCut,
        Self::AreasTaken,
        Self::CountContended,
        Self::GateFull,
    ];

    /// Name of the trouble in loss records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TagFailed => "tag_failed",
            Self::SessionMapFull => "session_map_full",
            Self::UringMapFull => "uring_map_full",
            Self::WalkCut => "walk_cut",
            Self::AreasTaken => "areas_taken",
            Self::CountContended => "count_contended",
            Self::GateFull => "gate_full",
        }
    }
}
