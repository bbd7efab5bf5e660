//! `struct path`: a dentry and the mount that it was reached by.
//!
//! Not here: the names that lead there (`event::dentry_walk`).

use crate::kernel::compat::{Task, walk};
use crate::kernel::read::{offset, read};

/// A `struct path`, by value.
#[derive(Clone, Copy)]
pub(crate) struct KernelPath {
    pub(crate) mount: u64,
    pub(crate) dentry: u64,
}

/// The path that a `struct path` at this address holds.
#[inline(always)]
pub(crate) fn at(address: u64) -> KernelPath {
    KernelPath {
        mount: read(address, offset!(path_mnt)),
        dentry: read(address, offset!(path_dentry)),
    }
}

/// An open file's path.
#[inline(always)]
pub(crate) fn of_file(file: u64) -> KernelPath {
    at(file + offset!(file_path) as u64)
}

/// The task's working directory.
#[inline(always)]
pub(crate) fn working_directory(task: Task) -> KernelPath {
    at(fs_of(task) + offset!(fs_pwd) as u64)
}

/// The task's root directory.
#[inline(always)]
pub(crate) fn root_directory(task: Task) -> KernelPath {
    at(fs_of(task) + offset!(fs_root) as u64)
}

#[inline(always)]
fn fs_of(task: Task) -> u64 {
    // SAFETY: `task` is typed.
    unsafe { walk(task, offset!(task_fs)) }
}

impl KernelPath {
    /// No path.
    pub(crate) const NONE: Self = Self {
        mount: 0,
        dentry: 0,
    };
}

/// A name in the directory that a `struct path` at this address holds.
#[inline(always)]
pub(crate) fn within(directory: u64, dentry: u64) -> KernelPath {
    KernelPath {
        mount: read(directory, offset!(path_mnt)),
        dentry,
    }
}

/// A mount's own root.
#[inline(always)]
pub(crate) fn root_of(mount: u64) -> KernelPath {
    KernelPath {
        mount,
        dentry: read(mount, offset!(vfsmount_root)),
    }
}
