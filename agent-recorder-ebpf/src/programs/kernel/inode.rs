//! Inodes: what names one, and what kind of file it is.

use agent_recorder_abi::policy::PlaceKey;

use crate::kernel::read::{offset, read};
use crate::kernel::uapi::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT};

/// What `st_dev` and `st_ino` are made of, and which file of that number it is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Inode {
    pub(crate) dev: u32,
    pub(crate) generation: u32,
    pub(crate) ino: u64,
}

/// Of an open file.
#[inline(always)]
pub(crate) fn inode_of(file: u64) -> Inode {
    let address: u64 = read(file, offset!(file_inode));
    Inode {
        dev: read(read(address, offset!(inode_sb)), offset!(sb_dev)),
        generation: read(address, offset!(inode_generation)),
        ino: read(address, offset!(inode_ino)),
    }
}

/// The key of an inode, whoever did something to it.
#[inline(always)]
pub(crate) fn place_key(inode: u64) -> PlaceKey {
    PlaceKey {
        ino: read(inode, offset!(inode_ino)),
        dev: read(read(inode, offset!(inode_sb)), offset!(sb_dev)),
        spare: 0,
    }
}

#[inline(always)]
pub(crate) fn is_directory(inode: u64) -> bool {
    read::<u16>(inode, offset!(inode_mode)) & S_IFMT == S_IFDIR
}

#[inline(always)]
pub(crate) fn is_character_device(inode: u64) -> bool {
    read::<u16>(inode, offset!(inode_mode)) & S_IFMT == S_IFCHR
}

#[inline(always)]
pub(crate) fn is_block_device(inode: u64) -> bool {
    read::<u16>(inode, offset!(inode_mode)) & S_IFMT == S_IFBLK
}
