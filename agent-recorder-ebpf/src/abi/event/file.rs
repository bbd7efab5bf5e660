//! File operations: their results, and the objects that security hooks see.

use crate::pod::pod;

/// File operations, with the numbers of `FileOp` in record.proto.
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
    /// The program that an exec is about to start; this is no file operation of a
    /// record.
    Exec = 128,
}

impl Op {
    /// Whether an operation creates, moves or removes names that the guard examines.
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

/// The first path comes from the kernel's objects, not from the caller's memory.
pub const FILE_KERNEL_PATH: u16 = 1;
/// The operation is announced, and a [`Kind::Uring`] event with the same token has
/// the result.
pub const FILE_PENDING: u16 = 2;
/// The walked path was cut at its root side.
pub const FILE_WALK_CUT: u16 = 4;
/// Last name of a walked path whose mount is detached. No real name contains a slash.
pub const WALKED_DETACHED: &[u8] = b"/";
/// The caller's path was cut.
pub const FILE_PATH_CUT: u16 = 8;
/// The caller's memory could not be read.
pub const FILE_PATH_UNREADABLE: u16 = 16;
/// The last component of the first path is followed if it is a symbolic link.
pub const FILE_FOLLOWS: u16 = 32;
/// `uid` and `gid` are valid.
pub const FILE_OWNER: u16 = 64;
/// The second location's walked path was cut at its root side.
pub const FILE_SECOND_WALK_CUT: u16 = 128;

/// The result needs no record: the program has opened this file before.
pub const FILE_SEEN: u16 = 256;
/// The first path is `/proc/self/fd/N`, followed, and its base is that descriptor's file.
pub const FILE_DESCRIPTOR: u16 = 512;

/// The first path begins at its file system's root, whichever mount it was reached by.
pub const FILE_IN_FILE_SYSTEM: u16 = 1024;
/// The caller's second path was cut.
pub const FILE_SECOND_PATH_CUT: u16 = 2048;
/// The extra bytes were cut.
pub const FILE_EXTRA_CUT: u16 = 4096;

/// [`FileBody::replaced`]: it is unknown whether the rename replaced an object.
pub const REPLACED_UNKNOWN: u16 = 0;
/// The new name was free, or a name of the renamed object.
pub const REPLACED_NOTHING: u16 = 1;
/// The rename replaced an object, which has lost that name.
pub const REPLACED_SOMETHING: u16 = 2;

/// Body of [`Kind::File`], [`Kind::Open`], [`Kind::Delete`] and, for files,
/// [`Kind::Uring`]. It is also the body of [`Kind::Victim`] and [`Kind::Object`],
/// which precede the event with the operation's result, from the same thread or with
/// the same token.
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
    /// Flags of the call.
    pub flags: u64,
    /// Inode number, 0 where unknown.
    pub ino: u64,
    /// Length of a truncate, bytes.
    pub length: u64,
    /// Token that an announcement and its result share.
    pub token: u64,
    /// `s_dev`, 0 where unknown.
    pub dev: u32,
    /// Mode of the call.
    pub mode: u32,
    /// New user of chown(2); `u32::MAX` leaves it.
    pub uid: u32,
    /// New group of chown(2); `u32::MAX` leaves it.
    pub gid: u32,
    /// Length of the first location's base, bytes.
    pub base_len: u16,
    /// Length of the first location's path, bytes.
    pub path_len: u16,
    /// Length of the second location's base, bytes.
    pub base2_len: u16,
    /// Length of the second location's path, bytes.
    pub path2_len: u16,
    /// Length of the extra bytes.
    pub extra_len: u16,
    /// `REPLACED_…` of a rename.
    pub replaced: u16,
    /// Bytes that the first location's base lacks ([`FILE_WALK_CUT`]). Of a path
    /// beyond [`crate::limits::WALKED_LEVELS`] only the walked levels count, and the
    /// number is at least 1.
    pub omitted: u32,
    /// Bytes that the second location's base lacks ([`FILE_SECOND_WALK_CUT`]),
    /// counted like `omitted`.
    pub omitted2: u32,
    /// Always 0.
    pub padding: u32,
}

pod! { FileBody = 80 }
