//! Constants of the kernel's interfaces, each with its header.
//!
//! Not here: constants of one table or format, which are beside it (opcodes of io_uring, commands
//! of ioctl(2) and bpf(2), errors of connect(2)).

/// Kinds of files in a mode (include/uapi/linux/stat.h).
pub(crate) const S_IFMT: u16 = 0o170_000;
pub(crate) const S_IFSOCK: u16 = 0o140_000;
pub(crate) const S_IFREG: u16 = 0o100_000;
pub(crate) const S_IFBLK: u16 = 0o060_000;
pub(crate) const S_IFDIR: u16 = 0o040_000;
pub(crate) const S_IFCHR: u16 = 0o020_000;

/// The working directory as a descriptor; this and the next three are in
/// include/uapi/linux/fcntl.h.
pub(crate) const AT_FDCWD: i32 = -100;
pub(crate) const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
/// With it unlinkat(2) is an rmdir.
pub(crate) const AT_REMOVEDIR: u64 = 0x200;
pub(crate) const AT_SYMLINK_FOLLOW: u64 = 0x400;

/// Flags of open(2) (include/uapi/asm-generic/fcntl.h).
pub(crate) const O_ACCMODE: u64 = 0o3;
pub(crate) const O_WRONLY: u64 = 0o1;
pub(crate) const O_CREAT: u64 = 0o100;
pub(crate) const O_EXCL: u64 = 0o200;
pub(crate) const O_TRUNC: u64 = 0o1000;
pub(crate) const O_LARGEFILE: u64 = 0o100_000;
pub(crate) const O_NOFOLLOW: u64 = 0o400_000;
/// `__O_TMPFILE`: O_TMPFILE without O_DIRECTORY.
pub(crate) const O_TMPFILE: u64 = 0o20_000_000;

/// Modes of an open file (`file.f_mode`, include/linux/fs.h).
pub(crate) const FMODE_WRITE: u32 = 2;
/// This open created the file (5.0).
pub(crate) const FMODE_CREATED: u32 = 0x10_0000;

/// The task is ending (`task_struct.flags`, include/linux/sched.h).
pub(crate) const PF_EXITING: u32 = 0x4;

/// Signals (arch/x86/include/uapi/asm/signal.h).
pub(crate) const SIGKILL: u32 = 9;
pub(crate) const SIGCONT: u32 = 18;
pub(crate) const SIGSTOP: u32 = 19;

/// A worker of io_uring (`task_struct.flags`, include/linux/sched.h, 5.10).
pub(crate) const PF_IO_WORKER: u32 = 0x10;

/// Bits of a sector's size, the unit of `inode.i_blocks` (include/linux/blk_types.h).
pub(crate) const SECTOR_SHIFT: u32 = 9;

/// Smallest pointer that is an error (`MAX_ERRNO`, include/linux/err.h).
pub(crate) const FIRST_ERROR: u64 = -4095_i64 as u64;

/// Magic numbers of file systems (include/uapi/linux/magic.h).
pub(crate) const PROC_SUPER_MAGIC: u64 = 0x9fa0;
pub(crate) const BTRFS_SUPER_MAGIC: u64 = 0x9123_683e;
