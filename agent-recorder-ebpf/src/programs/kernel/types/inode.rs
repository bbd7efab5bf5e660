//! Inodes, their names (dentries), and their file system. One file, because dentries and inodes
//! refer to each other.
//!
//! Not here: mounts (`path`), and open files (`file`).

use agent_recorder_abi::policy::PlaceKey;

use super::object::kernel_object;
use crate::kernel::read::offset;
use crate::kernel::uapi::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT, S_IFSOCK, SECTOR_SHIFT};

kernel_object! {
    /// `struct super_block`.
    SuperBlock
}

impl SuperBlock {
    /// `super_block.s_dev`, from which the kernel makes `st_dev`.
    #[inline(always)]
    fn device(self) -> u32 {
        self.field(offset!(sb_dev))
    }

    /// Kind of the file system: `…_SUPER_MAGIC`.
    #[inline(always)]
    pub(crate) fn magic(self) -> u64 {
        self.field(offset!(sb_magic))
    }
}

kernel_object! {
    /// `struct inode`.
    Inode
}

/// Identity of an inode: `st_dev`, `st_ino`, and the generation, which tells files of one number
/// apart.
#[derive(Clone, Copy, Default)]
pub(crate) struct InodeIdentity {
    pub(crate) dev: u32,
    pub(crate) generation: u32,
    pub(crate) ino: u64,
}

impl Inode {
    #[inline(always)]
    pub(crate) fn super_block(self) -> SuperBlock {
        self.field(offset!(inode_sb))
    }

    /// `super_block.s_dev`, from which the kernel makes `st_dev`.
    #[inline(always)]
    pub(crate) fn device(self) -> u32 {
        self.super_block().device()
    }

    /// `st_ino`.
    #[inline(always)]
    pub(crate) fn number(self) -> u64 {
        self.field(offset!(inode_ino))
    }

    /// Distinguishes the files that have had this number.
    #[inline(always)]
    pub(crate) fn generation(self) -> u32 {
        self.field(offset!(inode_generation))
    }

    #[inline(always)]
    pub(crate) fn identity(self) -> InodeIdentity {
        InodeIdentity {
            dev: self.device(),
            generation: self.generation(),
            ino: self.number(),
        }
    }

    /// Key of the inode in maps without a session.
    #[inline(always)]
    pub(crate) fn place_key(self) -> PlaceKey {
        PlaceKey {
            ino: self.number(),
            dev: self.device(),
            spare: 0,
        }
    }

    /// Kind and permissions.
    #[inline(always)]
    pub(crate) fn mode(self) -> u32 {
        u32::from(self.field::<u16>(offset!(inode_mode)))
    }

    /// When the contents were changed last, s.
    #[inline(always)]
    pub(crate) fn modified_s(self) -> i64 {
        self.field::<u64>(offset!(inode_modified_s)).cast_signed()
    }

    /// The same, ns of the second. Before 6.11 the field has eight bytes, of which the
    /// lower four hold the number.
    #[inline(always)]
    pub(crate) fn modified_ns(self) -> u32 {
        self.field(offset!(inode_modified_ns))
    }

    /// Kind of the file: `S_IF…`.
    #[inline(always)]
    pub(crate) fn kind(self) -> u16 {
        self.field::<u16>(offset!(inode_mode)) & S_IFMT
    }

    #[inline(always)]
    pub(crate) fn is_directory(self) -> bool {
        self.kind() == S_IFDIR
    }

    #[inline(always)]
    pub(crate) fn is_character_device(self) -> bool {
        self.kind() == S_IFCHR
    }

    #[inline(always)]
    pub(crate) fn is_block_device(self) -> bool {
        self.kind() == S_IFBLK
    }

    #[inline(always)]
    pub(crate) fn is_socket(self) -> bool {
        self.kind() == S_IFSOCK
    }

    /// Number of names.
    #[inline(always)]
    pub(crate) fn links(self) -> u32 {
        self.field(offset!(inode_nlink))
    }

    /// Length, bytes.
    #[inline(always)]
    pub(crate) fn size(self) -> u64 {
        self.field(offset!(inode_size))
    }

    /// Space on the file system, bytes.
    #[inline(always)]
    pub(crate) fn allocated(self) -> u64 {
        self.field::<u64>(offset!(inode_blocks)) << SECTOR_SHIFT
    }

    /// `inode.i_private`, whose meaning depends on the file system.
    #[inline(always)]
    pub(crate) fn private(self) -> u64 {
        self.field(offset!(inode_private))
    }

    /// The newest name (`hlist_add_head()` in `__d_instantiate()`), none before the first.
    #[inline(always)]
    pub(crate) fn newest_name(self) -> Dentry {
        let alias: u64 = self.field(offset!(inode_aliases));
        if alias == 0 {
            Dentry::NONE
        } else {
            Dentry::at(alias - offset!(dentry_alias) as u64)
        }
    }

    /// The `struct pid` of an inode of procfs (`proc_inode.pid`), 0 for a process that ended.
    #[inline(always)]
    pub(crate) fn procfs_pid(self) -> u64 {
        let holder = Self(self.0 - offset!(proc_inode) as u64);
        holder.field(offset!(proc_pid))
    }
}

kernel_object! {
    /// `struct dentry`: a name in a directory.
    Dentry
}

impl Dentry {
    /// The inode, none for a negative dentry.
    #[inline(always)]
    pub(crate) fn inode(self) -> Inode {
        self.field(offset!(dentry_inode))
    }

    /// The directory; a file system's root is its own parent.
    #[inline(always)]
    pub(crate) fn parent(self) -> Self {
        self.field(offset!(dentry_parent))
    }

    /// Address of the name's bytes, which end with a NUL.
    #[inline(always)]
    pub(crate) fn name(self) -> u64 {
        self.field(offset!(dentry_name))
    }

    /// The name's length and hash (`qstr.hash_len`).
    #[inline(always)]
    pub(crate) fn name_hash(self) -> u64 {
        self.field(offset!(dentry_name_hash))
    }

    /// The newest name in this directory (`d_move()` puts it first), none in an empty one.
    #[inline(always)]
    pub(crate) fn newest_child(self) -> Self {
        let newest: u64 = self.field(offset!(dentry_children));
        if newest == 0 {
            Self::NONE
        } else {
            Self(newest - offset!(dentry_sibling) as u64)
        }
    }
}
