//! Mounts, and `struct path`: a dentry with the mount on which it was reached.
//!
//! Not here: the names of a path (`event::dentry_walk`).

use super::inode::Dentry;
use super::object::kernel_object;
use crate::kernel::compat::{Task, walk};
use crate::kernel::read::{offset, read};
use crate::kernel::uapi::FIRST_ERROR;

kernel_object! {
    /// `struct vfsmount`: the part of a mount that a path refers to.
    Mount
}

impl Mount {
    #[inline(always)]
    pub(crate) fn root(self) -> Dentry {
        self.field(offset!(vfsmount_root))
    }

    /// The `struct mount` around it.
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
    /// The parent mount; the topmost mount is its own parent.
    #[inline(always)]
    pub(crate) fn parent(self) -> Self {
        self.field(offset!(mount_parent))
    }

    /// The dentry that is mounted on.
    #[inline(always)]
    pub(crate) fn mountpoint(self) -> Dentry {
        self.field(offset!(mount_point))
    }

    /// The `struct vfsmount` within it.
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
    /// Number of the namespace's file in nsfs.
    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        self.field(offset!(mount_ns_inum))
    }

    /// Whether it is an error pointer, which marks the kernel's own mounts (`MNT_NS_INTERNAL`).
    #[inline(always)]
    pub(crate) fn is_internal(self) -> bool {
        self.0 >= FIRST_ERROR
    }
}

/// A `struct path`, by value.
#[derive(Clone, Copy)]
pub(crate) struct KernelPath {
    /// None where the hook does not pass the mount.
    pub(crate) mount: Mount,
    pub(crate) dentry: Dentry,
}

impl KernelPath {
    pub(crate) const NONE: Self = Self {
        mount: Mount::NONE,
        dentry: Dentry::NONE,
    };

    /// The `struct path` at an address.
    #[inline(always)]
    pub(crate) fn at(address: u64) -> Self {
        Self {
            mount: read(address, offset!(path_mnt)),
            dentry: read(address, offset!(path_dentry)),
        }
    }

    /// A name in the directory whose `struct path` is at an address.
    #[inline(always)]
    pub(crate) fn within(directory: u64, dentry: Dentry) -> Self {
        Self {
            mount: read(directory, offset!(path_mnt)),
            dentry,
        }
    }

    #[inline(always)]
    pub(crate) fn root_of(mount: Mount) -> Self {
        Self {
            mount,
            dentry: mount.root(),
        }
    }

    #[inline(always)]
    pub(crate) fn working_directory(task: Task) -> Self {
        Self::at(fs_of(task) + offset!(fs_pwd) as u64)
    }

    #[inline(always)]
    pub(crate) fn root_directory(task: Task) -> Self {
        Self::at(fs_of(task) + offset!(fs_root) as u64)
    }
}

#[inline(always)]
fn fs_of(task: Task) -> u64 {
    // SAFETY: `task` is typed.
    unsafe { walk(task, offset!(task_fs)) }
}
