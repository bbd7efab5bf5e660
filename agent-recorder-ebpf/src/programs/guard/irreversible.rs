//! Refuses, where hooks refuse, acts that destroy as much as any limit allows by one
//! call: a block device that is opened for writing or discarded, a btrfs subvolume
//! that is deleted. It also refuses what would keep the recorder from its own files.
//!
//! Not here: the count after the act, in every profile (`overwrite`,
//! `operations::process_control`).

use agent_recorder_abi::criteria::{Criterion, DEVICE_DISCARDED, DEVICE_OPENED, SUBVOLUME_DELETED};

use crate::guard::enforce::{self, EPERM};
use crate::guard::verdict::Verdict;
use crate::guard::{criteria, self_protection};
use crate::kernel::compat::current;
use crate::kernel::types::File;
use crate::kernel::uapi::{BTRFS_SUPER_MAGIC, FMODE_WRITE};
use crate::session::tag;

/// `BLKDISCARD`, `BLKSECDISCARD`, `BLKZEROOUT` (include/uapi/linux/fs.h).
const DISCARDS: [u32; 3] = [0x1277, 0x127d, 0x127f];
/// `BTRFS_IOC_SNAP_DESTROY`, and its second version of 5.7 (include/uapi/linux/btrfs.h).
pub(crate) const SNAP_DESTROY: u32 = 0x5000_940f;
pub(crate) const SNAP_DESTROY_V2: u32 = 0x5000_943f;
/// `FS_IOC_SETFLAGS`, `FS_IOC32_SETFLAGS`, `FS_IOC_FSSETXATTR`
/// (include/uapi/linux/fs.h): the argument of each begins with 32 bits of flags.
const SETTING_FLAGS: [u32; 3] = [0x4008_6602, 0x4004_6602, 0x401c_5820];

/// Whether a command sets an inode's flags, some of which forbid every change of the file.
#[inline(always)]
pub(crate) fn is_setting_flags(command: u32) -> bool {
    SETTING_FLAGS.contains(&command)
}

/// The criterion of a command that destroys.
#[inline(always)]
pub(crate) fn criterion(command: u32) -> Criterion {
    if is_discarding(command) {
        DEVICE_DISCARDED
    } else {
        SUBVOLUME_DELETED
    }
}

/// Whether a command destroys.
#[inline(always)]
pub(crate) fn is_destroying(command: u32) -> bool {
    is_discarding(command) || command == SNAP_DESTROY || command == SNAP_DESTROY_V2
}

/// Whether a command discards or zeroes a block device.
#[inline(always)]
pub(crate) fn is_discarding(command: u32) -> bool {
    DISCARDS.contains(&command)
}

/// A file is to be opened: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn opening(file: File) -> i32 {
    let verdict = self_protection::opening(file);
    if verdict != 0 || !criteria::refuses(DEVICE_OPENED) {
        return verdict;
    }
    let is_written = file.mode() & FMODE_WRITE != 0;
    if is_written && file.inode().is_block_device() {
        return admitted(DEVICE_OPENED);
    }
    0
}

/// An ioctl(2) is to act on a file: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn commanding(file: File, command: u32) -> i32 {
    if is_setting_flags(command) {
        return self_protection::changing(file.path().dentry);
    }
    let verdict = enforce::verdict();
    let criterion = criterion(command);
    if verdict != 0 || !criteria::refuses(criterion) || !is_destroying(command) {
        return verdict;
    }
    let inode = file.inode();
    let destroys = if is_discarding(command) {
        inode.is_block_device()
    } else {
        // Other file systems do not have these commands.
        inode.super_block().magic() == BTRFS_SUPER_MAGIC
    };
    if destroys { admitted(criterion) } else { 0 }
}

/// 0, or an error that refuses the act.
#[inline(always)]
fn admitted(criterion: Criterion) -> i32 {
    match tag::tag_of(current()) {
        Some(tag) if criteria::admit(criterion, tag.session, 0, 0) == Verdict::Refused => -EPERM,
        _ => 0,
    }
}
