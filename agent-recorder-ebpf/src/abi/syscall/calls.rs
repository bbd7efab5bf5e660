//! Rows that both ABIs share, and rows of parts of calls.

use super::spec::{
    HANDLE_IOCTL, HANDLE_NONE, MARK_AT_FOLLOW, MARK_AT_NOFOLLOW, MARK_CREAT, MARK_FOLLOWS,
    MARK_HOW, MARK_LENGTH_AT, MARK_PIDFD, MARK_REMOVEDIR, NO_ARG, Spec,
};
use crate::event::{ControlOp, Op};
use crate::limits::SYSCALL_NUMBERS;

pub(super) const OPEN: Spec = Spec::open().path(0).flags(1).mode(2);
pub(super) const OPENAT: Spec = Spec::open().at(0, 1).flags(2).mode(3);
pub(super) const OPENAT2: Spec = Spec::open().at(0, 1).flags(2).marks(MARK_HOW);
pub(super) const CREAT: Spec = Spec::open().path(0).mode(1).marks(MARK_CREAT);
pub(super) const OPEN_BY_HANDLE: Spec = Spec::open().fd(0).flags(2);
pub(super) const UNLINK: Spec = Spec::file(Op::Delete).path(0);
pub(super) const UNLINKAT: Spec = Spec::file(Op::Delete)
    .at(0, 1)
    .flags(2)
    .marks(MARK_REMOVEDIR);
pub(super) const RMDIR: Spec = Spec::file(Op::Rmdir).path(0);
pub(super) const MKDIR: Spec = Spec::file(Op::Mkdir).path(0).mode(1);
pub(super) const MKDIRAT: Spec = Spec::file(Op::Mkdir).at(0, 1).mode(2);
pub(super) const MKNOD: Spec = Spec::file(Op::Create).path(0).mode(1);
pub(super) const MKNODAT: Spec = Spec::file(Op::Create).at(0, 1).mode(2);
pub(super) const RENAME: Spec = Spec::file(Op::Rename).path(0).to(1);
pub(super) const RENAMEAT: Spec = Spec::file(Op::Rename).at(0, 1).to_at(2, 3);
pub(super) const RENAMEAT2: Spec = RENAMEAT.flags(4);
pub(super) const TRUNCATE: Spec = Spec::file(Op::Truncate)
    .path(0)
    .length(1)
    .marks(MARK_FOLLOWS);
pub(super) const FTRUNCATE: Spec = Spec::file(Op::Truncate).fd(0).length(1);
pub(super) const LINK: Spec = Spec::file(Op::Link).path(0).to(1);
pub(super) const LINKAT: Spec = Spec::file(Op::Link)
    .at(0, 1)
    .to_at(2, 3)
    .flags(4)
    .marks(MARK_AT_FOLLOW);
pub(super) const SYMLINK: Spec = Spec::file(Op::Symlink).path(1).extra(0);
pub(super) const SYMLINKAT: Spec = Spec::file(Op::Symlink).at(1, 2).extra(0);
pub(super) const CHMOD: Spec = Spec::file(Op::Chmod).path(0).mode(1).marks(MARK_FOLLOWS);
pub(super) const FCHMOD: Spec = Spec::file(Op::Chmod).fd(0).mode(1);
pub(super) const FCHMODAT: Spec = Spec::file(Op::Chmod).at(0, 1).mode(2).marks(MARK_FOLLOWS);
pub(super) const FCHMODAT2: Spec = FCHMODAT.flags(3).marks(MARK_AT_NOFOLLOW);
pub(super) const CHOWN: Spec = Spec::file(Op::Chown)
    .path(0)
    .owner(1, 2)
    .marks(MARK_FOLLOWS);
pub(super) const LCHOWN: Spec = Spec::file(Op::Chown).path(0).owner(1, 2);
pub(super) const FCHOWN: Spec = Spec::file(Op::Chown).fd(0).owner(1, 2);
pub(super) const FCHOWNAT: Spec = Spec::file(Op::Chown)
    .at(0, 1)
    .owner(2, 3)
    .flags(4)
    .marks(MARK_FOLLOWS | MARK_AT_NOFOLLOW);
pub(super) const SETXATTR: Spec = Spec::file(Op::Xattr)
    .path(0)
    .extra(1)
    .flags(4)
    .marks(MARK_FOLLOWS);
pub(super) const LSETXATTR: Spec = Spec::file(Op::Xattr).path(0).extra(1).flags(4);
pub(super) const FSETXATTR: Spec = Spec::file(Op::Xattr).fd(0).extra(1).flags(4);
pub(super) const SETXATTRAT: Spec = Spec::file(Op::Xattr)
    .at(0, 1)
    .flags(2)
    .extra(3)
    .marks(MARK_FOLLOWS | MARK_AT_NOFOLLOW);
pub(super) const REMOVEXATTR: Spec = Spec::file(Op::Xattr).path(0).extra(1).marks(MARK_FOLLOWS);
pub(super) const LREMOVEXATTR: Spec = Spec::file(Op::Xattr).path(0).extra(1);
pub(super) const FREMOVEXATTR: Spec = Spec::file(Op::Xattr).fd(0).extra(1);
/// The flags are the first field of `struct file_attr`.
pub(super) const FILE_SETATTR: Spec = Spec::file(Op::Attributes)
    .at(0, 1)
    .length(2)
    .flags(4)
    .marks(MARK_FOLLOWS | MARK_AT_NOFOLLOW | MARK_LENGTH_AT);
pub(super) const MOUNT: Spec = Spec::file(Op::Mount)
    .path(1)
    .extra(0)
    .flags(3)
    .marks(MARK_FOLLOWS);
pub(super) const MOVE_MOUNT: Spec = Spec::file(Op::Mount)
    .at(2, 3)
    .to_at(0, 1)
    .flags(4)
    .marks(MARK_FOLLOWS);
pub(super) const UMOUNT: Spec = Spec::file(Op::Umount).path(0).marks(MARK_FOLLOWS);
pub(super) const UMOUNT2: Spec = UMOUNT.flags(1);
pub(super) const CHDIR: Spec = Spec::file(Op::Chdir).path(0).marks(MARK_FOLLOWS);
pub(super) const FCHDIR: Spec = Spec::file(Op::Chdir).fd(0);
/// The length is that of the range; `process_control` puts it into argument 3.
pub(super) const IOCTL: Spec = Spec {
    handle: HANDLE_IOCTL,
    ..Spec::file(Op::Device).fd(0).flags(1).length(3)
};
pub(super) const KILL: Spec = Spec::control(ControlOp::Signal, 0, 1);
pub(super) const TGKILL: Spec = Spec::control(ControlOp::Signal, 0, 2);
pub(super) const PIDFD_SEND_SIGNAL: Spec = KILL.marks(MARK_PIDFD);
pub(super) const PTRACE: Spec = Spec::control(ControlOp::Ptrace, 1, 0);
pub(super) const PROCESS_VM_WRITEV: Spec = Spec::control(ControlOp::Ptrace, 0, NO_ARG);
pub(super) const BPF: Spec = Spec::control(ControlOp::Bpf, NO_ARG, 0);
/// The command is the other process's descriptor.
pub(super) const PIDFD_GETFD: Spec = Spec::control(ControlOp::Descriptor, 0, 1).marks(MARK_PIDFD);
/// `length` is the address of the new limits; 0 for a call that only reads.
pub(super) const PRLIMIT: Spec = Spec::control(ControlOp::Limit, 0, 1).length(2);

/// Row of the ioctl(2) that deletes a subvolume by its name. No call has this number.
pub const ROW_SUBVOLUME: u32 = SYSCALL_NUMBERS - 1;
/// Row of the ioctl(2) that deletes a subvolume by its number, which is put into `length`.
pub const ROW_SUBVOLUME_BY_ID: u32 = SYSCALL_NUMBERS - 2;
/// Row of the commands that set an inode's flags, which are put into `length`.
pub const ROW_ATTRIBUTES: u32 = SYSCALL_NUMBERS - 3;
/// Rows of parts of calls. No program can make them, so they have no handler.
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
