//! Events as they lie in the rings: a [`Header`], the body of its kind, then
//! the body's segments of bytes, whose lengths the body holds.
//!
//! A walked path is a segment of names, leaf first, each ended by a NUL: the
//! kernel is walked from the leaf to the root, and turning it round there
//! would cost a second pass. A segment of one NUL is the root itself.

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
pub use guard::GuardBody;
pub use process::{
    EXEC_ARGV_CUT, EXEC_FILELESS, EXEC_FILENAME_CUT, ExecBody, ExitBody, ForkBody, SessionBody,
};
pub use socket::{DnsBody, NetBody, NetOp, SOCKET_CONNECTED, SOCKET_FRESH, SOCKET_PENDING};

/// Kinds: each is counted on its own, and lives in one of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// A session began by a rule.
    Session = 0,
    /// A program was started, or failed to start.
    Exec = 1,
    /// A process ended.
    Exit = 2,
    /// A process was made.
    Fork = 3,
    /// A name was removed: unlink and rmdir.
    Delete = 4,
    /// The guard's limit was met.
    Guard = 5,
    /// The result of a request of io_uring that was announced.
    Uring = 6,
    /// What a security hook saw of a name that is to be removed, or of a program that is to be started.
    Victim = 7,
    /// Any other file operation.
    File = 8,
    /// An open that made no file.
    Open = 9,
    /// A socket operation.
    Network = 10,
    /// A question to a name server.
    Dns = 11,
    /// What a security hook saw of any other file operation.
    Object = 12,
    /// Something done to another process, or to the kernel's programs.
    Control = 13,
}

/// Number of kinds.
pub const KINDS: usize = 14;

impl Kind {
    /// All, in order of their numbers.
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
    ];

    /// Whether it goes through the priority ring, which a flood of the others cannot fill.
    ///
    /// Control has its place in the order of forks and exits: whose the other process is, they tell.
    pub const fn is_priority(self) -> bool {
        (self as u16) <= (Self::Victim as u16) || matches!(self, Self::Control)
    }

    /// Its name in loss records and totals.
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
        }
    }

    /// From the number in a header.
    pub const fn from_number(number: u16) -> Option<Self> {
        if (number as usize) < KINDS {
            Some(Self::ALL[number as usize])
        } else {
            None
        }
    }
}

/// What every event begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// CLOCK_BOOTTIME, ns.
    pub time: u64,
    /// Whose it is.
    pub session: SessionNumber,
    /// `start_boottime` of the thread group's leader, ns.
    pub start_time: u64,
    /// Thread group, in the initial pid namespace.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Thread group of the real parent.
    pub ppid: u32,
    /// Real uid, in the initial user namespace.
    pub uid: u32,
    /// Login uid (`task_struct.loginuid`), `u32::MAX` where none was set.
    pub loginuid: u32,
    /// [`Kind`].
    pub kind: u16,
    /// None yet.
    pub spare: u16,
    /// cgroup v2 id (its inode number).
    pub cgroup: u64,
    /// `task_struct.comm`.
    pub comm: [u8; 16],
}

/// Through a system call of its own.
pub const VIA_SYSCALL: u8 = 1;
/// Through io_uring.
pub const VIA_URING: u8 = 2;

pod! { Header = 72 }

/// What could not be done, counted per CPU; user space makes loss records of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Trouble {
    /// A task could not be tagged: it runs outside its session, unrecorded.
    TagFailed = 0,
    /// A session could not be counted: the guard does not see it.
    SessionMapFull = 1,
    /// A request of io_uring could not be remembered: its result is not known.
    UringMapFull = 2,
    /// A path was deeper than is walked.
    WalkCut = 3,
    /// Too many hooks were under way on one CPU: an event was not made.
    AreasTaken = 4,
    /// Several deletes of a session may have been counted as one (kernels before 5.17).
    CountContended = 5,
    /// A gated program could not be told of, and was ended.
    GateFull = 6,
}

/// Number of troubles.
pub const TROUBLES: usize = 7;

impl Trouble {
    /// All, in order of their numbers.
    pub const ALL: [Self; TROUBLES] = [
        Self::TagFailed,
        Self::SessionMapFull,
        Self::UringMapFull,
        Self::WalkCut,
        Self::AreasTaken,
        Self::CountContended,
        Self::GateFull,
    ];

    /// Its name in loss records.
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
