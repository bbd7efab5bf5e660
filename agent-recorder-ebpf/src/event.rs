//! Events as they lie in the rings: a [`Header`], the body of its kind, then
//! the body's segments of bytes, whose lengths the body holds.
//!
//! A walked path is a segment of names, leaf first, each ended by a NUL: the
//! kernel is walked from the leaf to the root, and turning it round there
//! would cost a second pass. A segment of one NUL is the root itself.

use crate::limits::SOCKADDR_BYTES;
use crate::pod;
use crate::state::SessionNumber;

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

/// Body of [`Kind::Session`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionBody {
    /// The rule that matched, from 1.
    pub rule: u32,
    /// None yet.
    pub spare: u32,
}

/// The argv was cut.
pub const EXEC_ARGV_CUT: u32 = 1;
/// The program's file has no name: a memfd, or unlinked.
pub const EXEC_FILELESS: u32 = 2;
/// A walked path was cut at [`crate::limits::WALKED_LEVELS`].
pub const EXEC_PATH_CUT: u32 = 4;

/// Body of [`Kind::Exec`]. Segments: exe (walked), filename, cwd (walked), argv (each argument ended by a NUL).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecBody {
    /// errno, 0 for success.
    pub error: u32,
    /// `EXEC_…`.
    pub flags: u32,
    /// A rule that it matches, from 1; 0 for none.
    pub rule: u32,
    /// `s_dev` of the program's file.
    pub dev: u32,
    /// Its inode number.
    pub ino: u64,
    /// Bytes of all arguments with their terminators, before any cut; 0 where unknown (a failed exec).
    pub argv_bytes: u64,
    /// Length of the segment.
    pub exe_len: u16,
    /// Length of the segment.
    pub filename_len: u16,
    /// Length of the segment.
    pub cwd_len: u16,
    /// Length of the segment.
    pub argv_len: u16,
}

/// Body of [`Kind::Fork`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ForkBody {
    /// The child's `start_boottime`, ns.
    pub child_start_time: u64,
    /// Its pid.
    pub child_pid: u32,
    /// Its parent: not the caller with CLONE_PARENT.
    pub child_ppid: u32,
}

/// Body of [`Kind::Exit`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExitBody {
    /// As wait(2) gives it.
    pub status: u32,
    /// None yet.
    pub spare: u32,
}

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
    /// The protected path's counter.
    pub slot: u32,
}

/// File operations, as `FileOp` in record.proto numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the system calls' own names")]
pub enum Op {
    None = 0,
    Open = 1,
    Create = 2,
    Delete = 3,
    Rmdir = 4,
    Mkdir = 5,
    Rename = 6,
    Truncate = 7,
    Link = 8,
    Symlink = 9,
    Chmod = 10,
    Chown = 11,
    Xattr = 12,
    Mount = 13,
    Umount = 14,
    Device = 15,
    Chdir = 16,
    SubvolumeDelete = 17,
    Attributes = 18,
    /// Of no file operation: the program that an exec is about to start.
    Exec = 128,
}

impl Op {
    /// Whether an operation makes, moves or removes names that the guard looks at.
    pub const fn is_of_names(op: u8) -> bool {
        op == Self::Delete as u8
            || op == Self::Rmdir as u8
            || op == Self::Rename as u8
            || op == Self::Mkdir as u8
            || op == Self::Symlink as u8
            || op == Self::Link as u8
            || op == Self::Create as u8
    }
}

/// Through a system call of its own.
pub const VIA_SYSCALL: u8 = 1;
/// Through io_uring.
pub const VIA_URING: u8 = 2;

/// The first path is of the kernel's objects, not of the caller's memory.
pub const FILE_KERNEL_PATH: u16 = 1;
/// Announced: a [`Kind::Uring`] event with the same token brings the result.
pub const FILE_PENDING: u16 = 2;
/// A walked path was cut at its root side.
pub const FILE_WALK_CUT: u16 = 4;
/// As a walked path's last name, which no name can be: its mount is attached nowhere.
pub const WALKED_DETACHED: &[u8] = b"/";
/// The caller's path was cut.
pub const FILE_PATH_CUT: u16 = 8;
/// The caller's memory could not be read.
pub const FILE_PATH_UNREADABLE: u16 = 16;
/// The last component of the first path is followed when it is a symbolic link.
pub const FILE_FOLLOWS: u16 = 32;
/// `uid` and `gid` are meant.
pub const FILE_OWNER: u16 = 64;
/// The second path's last component is followed (linkat with AT_SYMLINK_FOLLOW follows the first).
pub const FILE_FOLLOWS_SECOND: u16 = 128;

/// A result that is no record: this program has opened this file before.
pub const FILE_SEEN: u16 = 256;
/// The first path is `/proc/self/fd/N`, followed, and its base is that descriptor's file.
pub const FILE_DESCRIPTOR: u16 = 512;

/// The first path begins at its file system's root, whichever mount it was reached by.
pub const FILE_IN_FILE_SYSTEM: u16 = 1024;

/// Body of [`Kind::File`], [`Kind::Open`], [`Kind::Delete`] and, for files, [`Kind::Uring`];
/// of [`Kind::Victim`] and [`Kind::Object`], which come before the one of these
/// that has the operation's result: from the same thread, or with its token.
///
/// Segments: base (walked) and path of the first location, base and path of
/// the second, then extra bytes (an attribute's name, a link's target, a
/// mount's source). A location without a path is its base.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct FileBody {
    /// [`Op`].
    pub op: u8,
    /// [`VIA_SYSCALL`] or [`VIA_URING`].
    pub via: u8,
    /// `FILE_…`.
    pub marks: u16,
    /// errno, 0 for success.
    pub error: u32,
    /// The call's flags.
    pub flags: u64,
    /// Inode number, 0 where unknown.
    pub ino: u64,
    /// Length, for truncate.
    pub length: u64,
    /// Pairs announcement and result.
    pub token: u64,
    /// `s_dev`, 0 where unknown.
    pub dev: u32,
    /// The call's mode.
    pub mode: u32,
    /// chown(2); `u32::MAX` leaves it.
    pub uid: u32,
    /// chown(2); `u32::MAX` leaves it.
    pub gid: u32,
    /// Length of the segment.
    pub base_len: u16,
    /// Length of the segment.
    pub path_len: u16,
    /// Length of the segment.
    pub base2_len: u16,
    /// Length of the segment.
    pub path2_len: u16,
    /// Length of the segment.
    pub extra_len: u16,
    /// None yet.
    pub spare: u16,
    /// Bytes that the first location's base lacks ([`FILE_WALK_CUT`]); 1 where that is not known.
    pub omitted: u32,
}

/// An address, as much of it as its family has.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// `AF_INET`, `AF_INET6`, `AF_UNIX`, 0 for none.
    pub family: u16,
    /// Host order.
    pub port: u16,
    /// Bytes of `bytes` in use.
    pub len: u16,
    /// None yet.
    pub spare: u16,
    /// Network order for inet; a path or abstract name for unix.
    pub bytes: [u8; SOCKADDR_BYTES],
}

impl Address {
    /// No address.
    pub const NONE: Self = Self {
        family: 0,
        port: 0,
        len: 0,
        spare: 0,
        bytes: [0; SOCKADDR_BYTES],
    };
}

impl Default for Address {
    fn default() -> Self {
        Self::NONE
    }
}

/// Bytes of an [`Address`] that are sent for inet.
pub const ADDRESS_INET_BYTES: usize = 24;
/// Bytes of an [`Address`] that are sent for unix.
pub const ADDRESS_UNIX_BYTES: usize = 8 + SOCKADDR_BYTES;

/// Socket operations, as `NetworkOp` in record.proto numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the system calls' own names")]
pub enum NetOp {
    Connect = 1,
    Accept = 2,
    Listen = 3,
    Bind = 4,
    Send = 5,
    Close = 6,
}

/// A connect was begun and its outcome is awaited (in [`crate::state::Socket`]).
pub const SOCKET_PENDING: u32 = 1;
/// That connect is all that was done with it: if it fails, there is nothing that could end.
pub const SOCKET_FRESH: u32 = 2;
/// Its connect succeeded and was told of.
pub const SOCKET_CONNECTED: u32 = 4;

/// Body of [`Kind::Network`]. Segments: local address, peer address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct NetBody {
    /// [`NetOp`].
    pub op: u8,
    /// [`VIA_SYSCALL`] or [`VIA_URING`].
    pub via: u8,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub socket_kind: u16,
    /// None yet.
    pub spare: u16,
    /// errno, 0 for success.
    pub error: u32,
    /// Length of the segment.
    pub local_len: u16,
    /// Length of the segment.
    pub peer_len: u16,
    /// CLOSE: bytes that were sent.
    pub sent: u64,
    /// CLOSE: bytes that were received.
    pub received: u64,
}

/// Body of [`Kind::Dns`]. Segments: server address, the datagram's beginning.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DnsBody {
    /// Length of the segment.
    pub server_len: u16,
    /// Length of the segment.
    pub payload_len: u16,
    /// None yet.
    pub spare: u32,
}

/// What is done to another process, as `ControlOp` in record.proto numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ControlOp {
    /// kill(2) and its kin.
    Signal = 1,
    /// ptrace(2) that attaches, and process_vm_writev(2).
    Ptrace = 2,
    /// bpf(2).
    Bpf = 3,
    /// prlimit(2) that sets limits of another process.
    Limit = 4,
    /// pidfd_getfd(2).
    Descriptor = 5,
}

/// The caller is in a pid namespace of its own: `target` is that one's number.
pub const CONTROL_NESTED: u32 = 1;

/// Body of [`Kind::Control`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ControlBody {
    /// [`ControlOp`].
    pub op: u32,
    /// The signal, the request of ptrace(2), the command of bpf(2), the
    /// resource of prlimit(2), or the descriptor of pidfd_getfd(2).
    pub command: u32,
    /// The process, thread or group as the call takes it; 0 where there is none or it is not known.
    pub target: i32,
    /// errno, 0 for success.
    pub error: u32,
    /// `CONTROL_…`.
    pub marks: u32,
    /// None yet.
    pub spare: u32,
}

pod! {
    ControlBody = 24,
    Header = 72, SessionBody = 8, ExecBody = 40, ForkBody = 16, ExitBody = 8,
    GuardBody = 48, FileBody = 72, Address = 120, NetBody = 32, DnsBody = 8,
}

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
