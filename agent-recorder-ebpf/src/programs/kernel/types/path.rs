//! Mounts, and `struct path`: a dentry and the mount that it was reached by.
//!
//! Not here: the names that lead there (`event::dentry_walk`).

use super::inode::Dentry;
use super::object::kernel_object;
use crate::kernel::compat::{Task, walk};
use crate::kernel::read::{offset, read};
use crate::kernel::uapi::FIRST_ERROR;

kernel_object! {
    /// `struct vfsmount`: what a path has of its mount.
    Mount
}

impl Mount {
    /// The dentry at its top.
    #[inline(always)]
    pub(crate) fn root(self) -> Dentry {
        self.field(offset!(vfsmount_root))
    }

    /// The structure that it lies in.
    #[inline(always)]
    pub(crate) fn node(self) -> MountNode {
        MountNode(self.0 - offset!(mount_mnt) as u64)
    }
}

kernel_object! {
    /// `struct mount` (fs/mount.h): a mount in the tree of its namespace.
    MountNode
}

impl MountNode {
    /// The mount that it is on; itself at the top.
    #[inline(always)]
    pub(crate) fn parent(self) -> Self {
        self.field(offset!(mount_parent))
    }

    /// The dentry that it is on.
    #[inline(always)]
    pub(crate) fn mountpoint(self) -> Dentry {
        self.field(offset!(mount_point))
    }

    /// What a path has of it.
    #[inline(always)]
    pub(crate) fn mount(self) -> Mount {
        Mount(self.0 + offset!(mount_mnt) as u64)
    }

    #[inline(always)]
    pub(crate) fn namespace(self) -> MountNamespace {
        self.field(offset!(mount_ns))
    }
}

kernel_object! {
    /// `struct mnt_namespace`.
    MountNamespace
}

impl MountNamespace {
    /// The number of its file in nsfs.
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        self.field(offset!(mount_ns_inum))
    }

    /// Whether it is none, but an error: the kernel's own mounts (`MNT_NS_INTERNAL`).
    #[inline(always)]
    pub(crate) fn is_internal(self) -> bool {
        self.0 >= FIRST_ERROR
    }
}

/// A `struct path`, by value.
#[derive(Clone, Copy)]
pub(crate) struct KernelPath {
    /// None where a hook does not tell it.
    pub(crate) mount: Mount,
    pub(crate) dentry: Dentry,
}

impl KernelPath {
    /// No path.
    pub(crate) const NONE: Self = Self {
        mount: Mount::NONE,
        dentry: Dentry::NONE,
    };

    /// The path that a `struct path` at this address holds.
    #[inline(always)]
    pub(crate) fn at(address: u64) -> Self {
        Self {
            mount: read(address, offset!(path_mnt)),
            dentry: read(address, offset!(path_dentry)),
        }
    }

    /// A name in the directory that a `struct path` at this address holds.
    #[inline(always)]
    pub(crate) fn within(directory: u64, dentry: Dentry) -> Self {
        Self {
            mount: read(directory, offset!(path_mnt)),
            dentry,
        }
    }

    /// A mount's own root.
    #[inline(always)]
    pub(crate) fn root_of(mount: Mount) -> Self {
        Self {
            mount,
            dentry: mount.root(),
        }
    }

    /// The task's working directory.
    #[inline(always)]
    pub(crate) fn working_directory(task: Task) -> Self {
        Self::at(fs_of(task) + offset!(fs_pwd) as u64)
    }

    /// The task's root directory.
    #[inline(always)]
    pub(crate) fn root_directory(task: Task) -> Self {
        Self::at(fs_of(task) + offset!(fs_root) as u64)
    }
}

/// Address of the task's `struct fs_struct`.
#[inline(always)]
fn fs_of(task: Task) -> u64 {
    // SAFETY: `task` is typed.
    unsafe { walk(task, offset!(task_fs)) }
}
