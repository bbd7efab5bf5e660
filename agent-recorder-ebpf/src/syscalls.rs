//! Which system calls are looked at, and where each keeps what: one row a call.
//!
//! The programs dispatch on this table (an array map that user space fills),
//! so a call that is not in it leaves after one array look-up. Numbers are of
//! `arch/x86/entry/syscalls/syscall_64.tbl` and `syscall_32.tbl`.

use crate::event::{ControlOp, Op};
use crate::pod;

/// Not looked at.
pub const HANDLE_NONE: u8 = 0;
/// open(2) and its kin: the result is a descriptor, the path is the file's own.
pub const HANDLE_OPEN: u8 = 1;
/// One or two locations, and numbers.
pub const HANDLE_FILE: u8 = 2;
/// execve(2) that failed.
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
/// socketcall(2) of 32-bit callers: the first argument says which.
pub const HANDLE_SOCKETCALL: u8 = 14;
/// writev(2), for DNS on a connected socket.
pub const HANDLE_WRITEV: u8 = 15;

/// close_range(2).
pub const HANDLE_CLOSE_RANGE: u8 = 16;
/// io_uring_enter(2): what it submitted is over or somebody else's.
pub const HANDLE_URING_ENTER: u8 = 17;
/// What is put into the descriptor of the first argument, perhaps a socket: sendfile(2), pwritev2(2).
pub const HANDLE_SENDFILE: u8 = 18;
/// The same of the third: splice(2).
pub const HANDLE_SPLICE: u8 = 19;
/// pwrite64(2), pwritev(2).
pub const HANDLE_PWRITE: u8 = 20;
/// copy_file_range(2).
pub const HANDLE_COPY: u8 = 21;
/// fallocate(2).
pub const HANDLE_FALLOCATE: u8 = 22;
/// ioctl(2), of which few commands count.
pub const HANDLE_IOCTL: u8 = 23;
/// What is done to other processes and to the kernel's programs: `dirfd` is
/// the other process, `flags` the command, `op` a [`ControlOp`].
pub const HANDLE_CONTROL: u8 = 24;

/// No such argument.
pub const NO_ARG: u8 = 0xff;

/// `flags` points to a `struct open_how` (openat2(2)).
pub const MARK_HOW: u16 = 1;
/// `flags` is not an argument: the call is creat(2).
pub const MARK_CREAT: u16 = 2;
/// The last component is followed.
pub const MARK_FOLLOWS: u16 = 4;
/// … unless AT_SYMLINK_NOFOLLOW (0x100) is in the flags.
pub const MARK_AT_NOFOLLOW: u16 = 8;
/// The first location's last component is followed if AT_SYMLINK_FOLLOW (0x400) is in the flags.
pub const MARK_AT_FOLLOW: u16 = 16;
/// AT_REMOVEDIR (0x200) in the flags makes it an rmdir.
pub const MARK_REMOVEDIR: u16 = 32;
/// The length is two 32-bit arguments, low first.
pub const MARK_LENGTH_PAIR: u16 = 64;
/// Owner and group have 16 bits.
pub const MARK_OWNER16: u16 = 128;
/// For a 32-bit caller: structures in its memory have 32-bit members.
pub const MARK_COMPAT: u16 = 256;
/// fcntl(2): only F_DUPFD (0) and F_DUPFD_CLOEXEC (1030) count.
pub const MARK_FCNTL: u16 = 512;
/// The numbers after dirfd 1 describe the second location first: `symlink(target, linkpath)`.
pub const MARK_EXTRA_PATH: u16 = 1024;
/// fanotify-like: the path may be empty with AT_EMPTY_PATH, then the descriptor is the file.
pub const MARK_EMPTY_PATH: u16 = 2048;
/// The process is that of a pidfd.
pub const MARK_PIDFD: u16 = 4096;
/// The length is the 64-bit number at that address.
pub const MARK_LENGTH_AT: u16 = 8192;

/// One call. Arguments are numbers 0 to 5, [`NO_ARG`] for none.
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
    /// A string that is kept as it is: an attribute's name, a link's target, a mount's source.
    pub extra: u8,
    /// A constant, the socket call's message kind or 0.
    pub spare: u16,
}

pod! { Spec = 16 }

impl Spec {
    /// A call that is not looked at.
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
        spare: 0,
    };

    /// Of a call that takes nothing from the table but who looks at it.
    pub const fn handle(handle: u8) -> Self {
        Self {
            handle,
            ..Self::NONE
        }
    }

    const fn file(op: Op) -> Self {
        Self {
            handle: HANDLE_FILE,
            op: op as u8,
            ..Self::NONE
        }
    }

    const fn open() -> Self {
        Self {
            handle: HANDLE_OPEN,
            op: Op::Open as u8,
            marks: MARK_FOLLOWS,
            ..Self::NONE
        }
    }

    const fn control(op: ControlOp, target: u8, command: u8) -> Self {
        Self {
            handle: HANDLE_CONTROL,
            op: op as u8,
            dirfd: target,
            flags: command,
            ..Self::NONE
        }
    }

    const fn marks(self, marks: u16) -> Self {
        Self {
            marks: self.marks | marks,
            ..self
        }
    }

    const fn at(self, dirfd: u8, path: u8) -> Self {
        Self {
            dirfd,
            path,
            ..self
        }
    }

    const fn path(self, path: u8) -> Self {
        Self { path, ..self }
    }

    const fn fd(self, dirfd: u8) -> Self {
        Self { dirfd, ..self }
    }

    const fn to_at(self, dirfd2: u8, path2: u8) -> Self {
        Self {
            dirfd2,
            path2,
            ..self
        }
    }

    const fn to(self, path2: u8) -> Self {
        Self { path2, ..self }
    }

    const fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    const fn mode(self, mode: u8) -> Self {
        Self { mode, ..self }
    }

    const fn owner(self, uid: u8, gid: u8) -> Self {
        Self { uid, gid, ..self }
    }

    const fn length(self, length: u8) -> Self {
        Self { length, ..self }
    }

    const fn extra(self, extra: u8) -> Self {
        Self { extra, ..self }
    }
}

const OPEN: Spec = Spec::open().path(0).flags(1).mode(2);
const OPENAT: Spec = Spec::open().at(0, 1).flags(2).mode(3);
const OPENAT2: Spec = Spec::open().at(0, 1).flags(2).marks(MARK_HOW);
const CREAT: Spec = Spec::open().path(0).mode(1).marks(MARK_CREAT);
const OPEN_BY_HANDLE: Spec = Spec::open().fd(0).flags(2);
const UNLINK: Spec = Spec::file(Op::Delete).path(0);
const UNLINKAT: Spec = Spec::file(Op::Delete)
    .at(0, 1)
    .flags(2)
    .marks(MARK_REMOVEDIR);
const RMDIR: Spec = Spec::file(Op::Rmdir).path(0);
const MKDIR: Spec = Spec::file(Op::Mkdir).path(0).mode(1);
const MKDIRAT: Spec = Spec::file(Op::Mkdir).at(0, 1).mode(2);
const MKNOD: Spec = Spec::file(Op::Create).path(0).mode(1);
const MKNODAT: Spec = Spec::file(Op::Create).at(0, 1).mode(2);
const RENAME: Spec = Spec::file(Op::Rename).path(0).to(1);
const RENAMEAT: Spec = Spec::file(Op::Rename).at(0, 1).to_at(2, 3);
const RENAMEAT2: Spec = RENAMEAT.flags(4);
const TRUNCATE: Spec = Spec::file(Op::Truncate)
    .path(0)
    .length(1)
    .marks(MARK_FOLLOWS);
const FTRUNCATE: Spec = Spec::file(Op::Truncate).fd(0).length(1);
const LINK: Spec = Spec::file(Op::Link).path(0).to(1);
const LINKAT: Spec = Spec::file(Op::Link)
    .at(0, 1)
    .to_at(2, 3)
    .flags(4)
    .marks(MARK_AT_FOLLOW | MARK_EMPTY_PATH);
const SYMLINK: Spec = Spec::file(Op::Symlink)
    .path(1)
    .extra(0)
    .marks(MARK_EXTRA_PATH);
const SYMLINKAT: Spec = Spec::file(Op::Symlink)
    .at(1, 2)
    .extra(0)
    .marks(MARK_EXTRA_PATH);
const CHMOD: Spec = Spec::file(Op::Chmod).path(0).mode(1).marks(MARK_FOLLOWS);
const FCHMOD: Spec = Spec::file(Op::Chmod).fd(0).mode(1);
const FCHMODAT: Spec = Spec::file(Op::Chmod).at(0, 1).mode(2).marks(MARK_FOLLOWS);
const FCHMODAT2: Spec = FCHMODAT.flags(3).marks(MARK_AT_NOFOLLOW | MARK_EMPTY_PATH);
const CHOWN: Spec = Spec::file(Op::Chown)
    .path(0)
    .owner(1, 2)
    .marks(MARK_FOLLOWS);
const LCHOWN: Spec = Spec::file(Op::Chown).path(0).owner(1, 2);
const FCHOWN: Spec = Spec::file(Op::Chown).fd(0).owner(1, 2);
const FCHOWNAT: Spec = Spec::file(Op::Chown)
    .at(0, 1)
    .owner(2, 3)
    .flags(4)
    .marks(MARK_FOLLOWS | MARK_AT_NOFOLLOW | MARK_EMPTY_PATH);
const SETXATTR: Spec = Spec::file(Op::Xattr)
    .path(0)
    .extra(1)
    .flags(4)
    .marks(MARK_FOLLOWS);
const LSETXATTR: Spec = Spec::file(Op::Xattr).path(0).extra(1).flags(4);
const FSETXATTR: Spec = Spec::file(Op::Xattr).fd(0).extra(1).flags(4);
const SETXATTRAT: Spec = Spec::file(Op::Xattr)
    .at(0, 1)
    .flags(2)
    .extra(3)
    .marks(MARK_FOLLOWS | MARK_AT_NOFOLLOW | MARK_EMPTY_PATH);
const REMOVEXATTR: Spec = Spec::file(Op::Xattr).path(0).extra(1).marks(MARK_FOLLOWS);
const LREMOVEXATTR: Spec = Spec::file(Op::Xattr).path(0).extra(1);
const FREMOVEXATTR: Spec = Spec::file(Op::Xattr).fd(0).extra(1);
/// `struct file_attr` begins with the flags.
const FILE_SETATTR: Spec = Spec::file(Op::Attributes)
    .at(0, 1)
    .length(2)
    .flags(4)
    .marks(MARK_FOLLOWS | MARK_AT_NOFOLLOW | MARK_EMPTY_PATH | MARK_LENGTH_AT);
const MOUNT: Spec = Spec::file(Op::Mount)
    .path(1)
    .extra(0)
    .flags(3)
    .marks(MARK_FOLLOWS);
const MOVE_MOUNT: Spec = Spec::file(Op::Mount)
    .at(2, 3)
    .to_at(0, 1)
    .flags(4)
    .marks(MARK_FOLLOWS | MARK_EMPTY_PATH);
const UMOUNT: Spec = Spec::file(Op::Umount).path(0).marks(MARK_FOLLOWS);
const UMOUNT2: Spec = UMOUNT.flags(1);
const CHDIR: Spec = Spec::file(Op::Chdir).path(0).marks(MARK_FOLLOWS);
const FCHDIR: Spec = Spec::file(Op::Chdir).fd(0);
/// The length is that of the range.
const IOCTL: Spec = Spec {
    handle: HANDLE_IOCTL,
    ..Spec::file(Op::Device).fd(0).flags(1).length(3)
};
const KILL: Spec = Spec::control(ControlOp::Signal, 0, 1);
const TGKILL: Spec = Spec::control(ControlOp::Signal, 0, 2);
const PIDFD_SEND_SIGNAL: Spec = KILL.marks(MARK_PIDFD);
const PTRACE: Spec = Spec::control(ControlOp::Ptrace, 1, 0);
const PROCESS_VM_WRITEV: Spec = Spec::control(ControlOp::Ptrace, 0, NO_ARG);
const BPF: Spec = Spec::control(ControlOp::Bpf, NO_ARG, 0);
/// The command is the descriptor.
const PIDFD_GETFD: Spec = Spec::control(ControlOp::Descriptor, 0, 1).marks(MARK_PIDFD);
/// The new limits are where the length says; without any it is a question.
const PRLIMIT: Spec = Spec::control(ControlOp::Limit, 0, 1).length(2);

/// The row of the ioctl(2) that deletes a subvolume by its name. No call has this number.
pub const ROW_SUBVOLUME: u32 = crate::limits::SYSCALL_NUMBERS - 1;
/// The row of the one that names it by a number, which is put into `length`.
pub const ROW_SUBVOLUME_BY_ID: u32 = crate::limits::SYSCALL_NUMBERS - 2;
/// The row of the ones that set an inode's flags, which are put into `length`.
pub const ROW_ATTRIBUTES: u32 = crate::limits::SYSCALL_NUMBERS - 3;
/// What is part of calls: nobody can make them, so they are handled by none.
pub const PARTS: &[(u32, Spec)] = &[
    (
        ROW_SUBVOLUME,
        Spec {
            handle: HANDLE_NONE,
            ..Spec::file(Op::SubvolumeDelete).at(0, 2).flags(1)
        },
    ),
    (
        ROW_SUBVOLUME_BY_ID,
        Spec {
            handle: HANDLE_NONE,
            ..Spec::file(Op::SubvolumeDelete).fd(0).flags(1).length(3)
        },
    ),
    (
        ROW_ATTRIBUTES,
        Spec {
            handle: HANDLE_NONE,
            ..Spec::file(Op::Attributes).fd(0).flags(1).length(3)
        },
    ),
];

/// The calls of 64-bit x86 programs.
pub const X86_64: &[(u32, Spec)] = &[
    (1, Spec::handle(HANDLE_WRITE)),
    (2, OPEN),
    (3, Spec::handle(HANDLE_CLOSE)),
    (16, IOCTL),
    (18, Spec::handle(HANDLE_PWRITE)),
    (20, Spec::handle(HANDLE_WRITEV)),
    (32, Spec::handle(HANDLE_DUP)),
    (33, Spec::handle(HANDLE_DUP)),
    (40, Spec::handle(HANDLE_SENDFILE)),
    (42, Spec::handle(HANDLE_CONNECT)),
    (43, Spec::handle(HANDLE_ACCEPT)),
    (44, Spec::handle(HANDLE_SENDTO)),
    (46, Spec::handle(HANDLE_SENDMSG)),
    (49, Spec::handle(HANDLE_BIND)),
    (50, Spec::handle(HANDLE_LISTEN)),
    (59, Spec::handle(HANDLE_EXEC).path(0)),
    (62, KILL),
    (72, Spec::handle(HANDLE_DUP).marks(MARK_FCNTL)),
    (76, TRUNCATE),
    (77, FTRUNCATE),
    (80, CHDIR),
    (81, FCHDIR),
    (82, RENAME),
    (83, MKDIR),
    (84, RMDIR),
    (85, CREAT),
    (86, LINK),
    (87, UNLINK),
    (88, SYMLINK),
    (90, CHMOD),
    (91, FCHMOD),
    (92, CHOWN),
    (93, FCHOWN),
    (94, LCHOWN),
    (101, PTRACE),
    (129, KILL),
    (133, MKNOD),
    (165, MOUNT),
    (166, UMOUNT2),
    (188, SETXATTR),
    (189, LSETXATTR),
    (190, FSETXATTR),
    (197, REMOVEXATTR),
    (198, LREMOVEXATTR),
    (199, FREMOVEXATTR),
    (200, KILL),
    (234, TGKILL),
    (257, OPENAT),
    (258, MKDIRAT),
    (259, MKNODAT),
    (260, FCHOWNAT),
    (263, UNLINKAT),
    (264, RENAMEAT),
    (265, LINKAT),
    (266, SYMLINKAT),
    (268, FCHMODAT),
    (275, Spec::handle(HANDLE_SPLICE)),
    (285, Spec::handle(HANDLE_FALLOCATE)),
    (288, Spec::handle(HANDLE_ACCEPT)),
    (292, Spec::handle(HANDLE_DUP)),
    (296, Spec::handle(HANDLE_PWRITE)),
    (297, TGKILL),
    (302, PRLIMIT),
    (304, OPEN_BY_HANDLE),
    (307, Spec::handle(HANDLE_SENDMMSG)),
    (311, PROCESS_VM_WRITEV),
    (316, RENAMEAT2),
    (321, BPF),
    (322, Spec::handle(HANDLE_EXEC).at(0, 1)),
    (326, Spec::handle(HANDLE_COPY)),
    (328, Spec::handle(HANDLE_SENDFILE)),
    (424, PIDFD_SEND_SIGNAL),
    (426, Spec::handle(HANDLE_URING_ENTER)),
    (429, MOVE_MOUNT),
    (436, Spec::handle(HANDLE_CLOSE_RANGE)),
    (437, OPENAT2),
    (438, PIDFD_GETFD),
    (452, FCHMODAT2),
    (463, SETXATTRAT),
    (466, SETXATTRAT),
    (469, FILE_SETATTR),
];

/// The calls of 32-bit x86 programs on a 64-bit kernel.
pub const IA32: &[(u32, Spec)] = &[
    (4, Spec::handle(HANDLE_WRITE)),
    (5, OPEN),
    (6, Spec::handle(HANDLE_CLOSE)),
    (8, CREAT),
    (9, LINK),
    (10, UNLINK),
    (11, Spec::handle(HANDLE_EXEC).path(0)),
    (12, CHDIR),
    (14, MKNOD),
    (15, CHMOD),
    (16, LCHOWN.marks(MARK_OWNER16)),
    (21, MOUNT),
    (22, UMOUNT),
    (26, PTRACE),
    (37, KILL),
    (38, RENAME),
    (39, MKDIR),
    (40, RMDIR),
    (41, Spec::handle(HANDLE_DUP)),
    (52, UMOUNT2),
    (54, IOCTL),
    (55, Spec::handle(HANDLE_DUP).marks(MARK_FCNTL)),
    (63, Spec::handle(HANDLE_DUP)),
    (83, SYMLINK),
    (92, TRUNCATE),
    (93, FTRUNCATE),
    (94, FCHMOD),
    (95, FCHOWN.marks(MARK_OWNER16)),
    (102, Spec::handle(HANDLE_SOCKETCALL)),
    (133, FCHDIR),
    (146, Spec::handle(HANDLE_WRITEV)),
    (178, KILL),
    (181, Spec::handle(HANDLE_PWRITE)),
    (182, CHOWN.marks(MARK_OWNER16)),
    (187, Spec::handle(HANDLE_SENDFILE)),
    (193, TRUNCATE.marks(MARK_LENGTH_PAIR)),
    (194, FTRUNCATE.marks(MARK_LENGTH_PAIR)),
    (198, LCHOWN),
    (207, FCHOWN),
    (212, CHOWN),
    (221, Spec::handle(HANDLE_DUP).marks(MARK_FCNTL)),
    (226, SETXATTR),
    (227, LSETXATTR),
    (228, FSETXATTR),
    (235, REMOVEXATTR),
    (236, LREMOVEXATTR),
    (237, FREMOVEXATTR),
    (238, KILL),
    (239, Spec::handle(HANDLE_SENDFILE)),
    (270, TGKILL),
    (295, OPENAT),
    (296, MKDIRAT),
    (297, MKNODAT),
    (298, FCHOWNAT),
    (301, UNLINKAT),
    (302, RENAMEAT),
    (303, LINKAT),
    (304, SYMLINKAT),
    (306, FCHMODAT),
    (313, Spec::handle(HANDLE_SPLICE)),
    (324, Spec::handle(HANDLE_FALLOCATE)),
    (330, Spec::handle(HANDLE_DUP)),
    (334, Spec::handle(HANDLE_PWRITE)),
    (335, TGKILL),
    (340, PRLIMIT),
    (342, OPEN_BY_HANDLE),
    (345, Spec::handle(HANDLE_SENDMMSG)),
    (348, PROCESS_VM_WRITEV),
    (353, RENAMEAT2),
    (357, BPF),
    (358, Spec::handle(HANDLE_EXEC).at(0, 1)),
    (361, Spec::handle(HANDLE_BIND)),
    (362, Spec::handle(HANDLE_CONNECT)),
    (363, Spec::handle(HANDLE_LISTEN)),
    (364, Spec::handle(HANDLE_ACCEPT)),
    (369, Spec::handle(HANDLE_SENDTO)),
    (370, Spec::handle(HANDLE_SENDMSG)),
    (377, Spec::handle(HANDLE_COPY)),
    (379, Spec::handle(HANDLE_SENDFILE)),
    (424, PIDFD_SEND_SIGNAL),
    (426, Spec::handle(HANDLE_URING_ENTER)),
    (429, MOVE_MOUNT),
    (436, Spec::handle(HANDLE_CLOSE_RANGE)),
    (437, OPENAT2),
    (438, PIDFD_GETFD),
    (452, FCHMODAT2),
    (463, SETXATTRAT),
    (466, SETXATTRAT),
    (469, FILE_SETATTR),
];
