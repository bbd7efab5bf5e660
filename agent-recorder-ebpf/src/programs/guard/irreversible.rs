//! Acts that destroy as much as any limit allows, by one call: a block device
//! that is opened for writing or discarded, a btrfs subvolume that is deleted.
//! Refused before they are done, where hooks refuse; and so is what would keep
//! the recorder from its own files.
//!
//! Not here: that they are counted when they were done, in every profile
//! (`cut`, `control`).

use crate::event::dentry_walk;
use crate::guard::budget::{self, EPERM};
use crate::guard::ownership::is_block_device;
use crate::guard::self_protection;
use crate::kernel::read::{current, hooks, offset, read};
use crate::operations::process_control;
use crate::session::tag;

/// `FMODE_WRITE` (include/linux/fs.h).
const FMODE_WRITE: u32 = 2;
/// `BTRFS_SUPER_MAGIC` (include/uapi/linux/magic.h): elsewhere these commands mean nothing.
const BTRFS: u64 = 0x9123_683e;

/// A file is to be opened: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn opening(file: u64) -> i32 {
    let verdict = self_protection::opening(file);
    if verdict != 0 || hooks().refuse == 0 {
        return verdict;
    }
    let is_written = read::<u32>(file, offset!(file_mode)) & FMODE_WRITE != 0;
    if is_written && is_block_device(read(file, offset!(file_inode))) {
        return refused();
    }
    0
}

/// An ioctl(2) is to act on a file: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn commanding(file: u64, command: u32) -> i32 {
    if process_control::is_setting_flags(command) {
        return self_protection::changing(dentry_walk::of_file(file).dentry);
    }
    let verdict = budget::verdict();
    if verdict != 0 || hooks().refuse == 0 || !process_control::is_destroying(command) {
        return verdict;
    }
    let inode: u64 = read(file, offset!(file_inode));
    let destroys = if process_control::is_discarding(command) {
        is_block_device(inode)
    } else {
        read::<u64>(read(inode, offset!(inode_sb)), offset!(sb_magic)) == BTRFS
    };
    if destroys { refused() } else { 0 }
}

#[inline(always)]
fn refused() -> i32 {
    match tag::tag_of(current()) {
        Some(tag) if budget::admit_whole(tag.session) == 0 => -EPERM,
        _ => 0,
    }
}
