//! One row of the table: the handler of a call, and the positions of its arguments.

use crate::event::{ControlOp, Op};
use crate::pod::pod;

/// No handler: the call is not recorded.
pub const HANDLE_NONE: u8 = 0;
/// open(2) and related calls: the result is a descriptor, whose file has the path.
pub const HANDLE_OPEN: u8 = 1;
/// File operations with one or two locations, and numbers.
pub const HANDLE_FILE: u8 = 2;
/// execve(2) and execveat(2) that failed.
pub const HANDLE_EXEC: u8 = 3;
/// connect(2).
pub const HANDLE_CONNECT: u8 = 4;
/// accept(2): the result is a descriptor.
pub const HANDLE_ACCEPT: u8 = 5;
/// bind(2).
pub const HANDLE_BIND: u8 = 6;
/// listen(2).
pub const HANDLE_LISTEN: u8 = 7;
/// sendto(2).
pub const HANDLE_SENDTO: u8 = 8;
/// sendmsg(2).
pub const HANDLE_SENDMSG: u8 = 9;
/// sendmmsg(2).
pub const HANDLE_SENDMMSG: u8 = 10;
/// write(2), for DNS on a connected socket.
pub const HANDLE_WRITE: u8 = 11;
/// close(2).
pub const HANDLE_CLOSE: u8 = 12;
/// dup(2) and fcntl(2): the result is one more descriptor of the same file.
pub const HANDLE_DUP: u8 = 13;
/// socketcall(2) of 32-bit callers: the first argument is the number of the call.
pub const HANDLE_SOCKETCALL: u8 = 14;
/// writev(2), for DNS on a connected socket.
pub const HANDLE_WRITEV: u8 = 15;

/// close_range(2).
pub const HANDLE_CLOSE_RANGE: u8 = 16;
/// io_uring_enter(2): its requests have completed, or belong to workers.
pub const HANDLE_URING_ENTER: u8 = 17;
/// Writes into the descriptor of the first argument, perhaps a socket: sendfile(2), pwritev2(2).
pub const HANDLE_SENDFILE: u8 = 18;
/// Writes into the descriptor of the third argument, perhaps a socket: splice(2).
pub const HANDLE_SPLICE: u8 = 19;
/// pwrite64(2), pwritev(2).
pub const HANDLE_PWRITE: u8 = 20;
/// copy_file_range(2).
pub const HANDLE_COPY: u8 = 21;
/// fallocate(2).
pub const HANDLE_FALLOCATE: u8 = 22;
/// ioctl(2), of which few commands are recorded.
pub const HANDLE_IOCTL: u8 = 23;
/// Acts on other processes and the kernel's programs: `dirfd` is the process, `flags` the command,
/// `op` a [`ControlOp`].
pub const HANDLE_CONTROL: u8 = 24;

/// The call has no such argument.
pub const NO_ARG: u8 = 0xff;

/// `flags` points to a `struct open_how` (openat2(2)).
pub const MARK_HOW: u16 = 1;
/// `flags` is not an argument: the call is creat(2).
pub const MARK_CREAT: u16 = 2;
/// The last component is followed.
pub const MARK_FOLLOWS: u16 = 4;
/// With AT_SYMLINK_NOFOLLOW (0x100) in the flags the last component is not followed.
pub const MARK_AT_NOFOLLOW: u16 = 8;
/// The first location's last component is followed if AT_SYMLINK_FOLLOW (0x400) is in the flags.
pub const MARK_AT_FOLLOW: u16 = 16;
/// With AT_REMOVEDIR (0x200) in the flags the operation is an rmdir.
pub const MARK_REMOVEDIR: u16 = 32;
/// The length is two 32-bit arguments, low first.
pub const MARK_LENGTH_PAIR: u16 = 64;
/// Owner and group have 16 bits.
pub const MARK_OWNER16: u16 = 128;
/// fcntl(2): only F_DUPFD (0) and F_DUPFD_CLOEXEC (1030) count.
pub const MARK_FCNTL: u16 = 512;
/// `dirfd` is a pidfd.
pub const MARK_PIDFD: u16 = 4096;
/// `length` is the address of a 64-bit length.
pub const MARK_LENGTH_AT: u16 = 8192;

/// One row. Arguments are numbers 0 to 5, [`NO_ARG`] for none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// `HANDLE_…`.
    pub handle: u8,
    /// [`Op`].
    pub op: u8,
    /// `MARK_…`.
    pub marks: u16,
    /// Directory descriptor of the first location (or the file's own, when `path` is none).
    pub dirfd: u8,
    /// First path.
    pub path: u8,
    /// Directory descriptor of the second location.
    pub dirfd2: u8,
    /// Second path.
    pub path2: u8,
    /// Flags.
    pub flags: u8,
    /// Mode.
    pub mode: u8,
    /// Owner.
    pub uid: u8,
    /// Group.
    pub gid: u8,
    /// Length.
    pub length: u8,
    /// A string that is recorded unchanged: an attribute's name, a link's target, a mount's source.
    pub extra: u8,
}

pod! { Spec = 14 }

impl Spec {
    /// A call without a handler.
    pub const NONE: Self = Self {
        handle: HANDLE_NONE,
        op: 0,
        marks: 0,
        dirfd: NO_ARG,
        path: NO_ARG,
        dirfd2: NO_ARG,
        path2: NO_ARG,
        flags: NO_ARG,
        mode: NO_ARG,
        uid: NO_ARG,
        gid: NO_ARG,
        length: NO_ARG,
        extra: NO_ARG,
    };

    /// A call with a handler, and without arguments in the table.
    pub const fn handle(handle: u8) -> Self {
        Self {
            handle,
            ..Self::NONE
        }
    }

    pub(super) const fn file(op: Op) -> Self {
        Self {
            handle: HANDLE_FILE,
            op: op as u8,
            ..Self::NONE
        }
    }

    pub(super) const fn open() -> Self {
        Self {
            handle: HANDLE_OPEN,
            op: Op::Open as u8,
            marks: MARK_FOLLOWS,
            ..Self::NONE
        }
    }

    pub(super) const fn control(op: ControlOp, target: u8, command: u8) -> Self {
        Self {
            handle: HANDLE_CONTROL,
            op: op as u8,
            dirfd: target,
            flags: command,
            ..Self::NONE
        }
    }

    pub(super) const fn marks(self, marks: u16) -> Self {
        Self {
            marks: self.marks | marks,
            ..self
        }
    }

    pub(super) const fn at(self, dirfd: u8, path: u8) -> Self {
        Self {
            dirfd,
            path,
            ..self
        }
    }

    pub(super) const fn path(self, path: u8) -> Self {
        Self { path, ..self }
    }

    pub(super) const fn fd(self, dirfd: u8) -> Self {
        Self { dirfd, ..self }
    }

    pub(super) const fn to_at(self, dirfd2: u8, path2: u8) -> Self {
        Self {
            dirfd2,
            path2,
            ..self
        }
    }

    pub(super) const fn to(self, path2: u8) -> Self {
        Self { path2, ..self }
    }

    pub(super) const fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    pub(super) const fn mode(self, mode: u8) -> Self {
        Self { mode, ..self }
    }

    pub(super) const fn owner(self, uid: u8, gid: u8) -> Self {
        Self { uid, gid, ..self }
    }

    pub(super) const fn length(self, length: u8) -> Self {
        Self { length, ..self }
    }

    pub(super) const fn extra(self, extra: u8) -> Self {
        Self { extra, ..self }
    }
}
