//! File operations: as a call or a request ends, and as a security hook sees their object.

use crate::pod::pod;

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
/// The second location's walked path was cut at its root side.
pub const FILE_SECOND_WALK_CUT: u16 = 128;

/// A result that is no record: this program has opened this file before.
pub const FILE_SEEN: u16 = 256;
/// The first path is `/proc/self/fd/N`, followed, and its base is that descriptor's file.
pub const FILE_DESCRIPTOR: u16 = 512;

/// The first path begins at its file system's root, whichever mount it was reached by.
pub const FILE_IN_FILE_SYSTEM: u16 = 1024;
/// The caller's second path was cut.
pub const FILE_SECOND_PATH_CUT: u16 = 2048;
/// The extra bytes were cut.
pub const FILE_EXTRA_CUT: u16 = 4096;

/// [`FileBody::replaced`]: whether something stood at the new name is not known.
pub const REPLACED_UNKNOWN: u16 = 0;
/// Nothing did, or the object that is renamed itself.
pub const REPLACED_NOTHING: u16 = 1;
/// Something did, which has that name no more.
pub const REPLACED_SOMETHING: u16 = 2;

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
    /// A rename: `REPLACED_…`.
    pub replaced: u16,
    /// Bytes that the first location's base lacks ([`FILE_WALK_CUT`]); of a path beyond
    /// [`crate::limits::WALKED_LEVELS`], as many as are known, and at least 1.
    pub omitted: u32,
    /// The same of the second location's ([`FILE_SECOND_WALK_CUT`]).
    pub omitted2: u32,
    /// None yet.
    pub padding: u32,
}

pod! { FileBody = 80 }
