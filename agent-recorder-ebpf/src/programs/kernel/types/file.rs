//! Open files, and the descriptors of tasks that refer to them.
//!
//! Not here: the socket behind a file (`socket`).

use agent_recorder_abi::state::DescriptorKey;

use super::inode::Inode;
use super::object::kernel_object;
use super::path::KernelPath;
use crate::kernel::compat::{Task, walk};
use crate::kernel::read::{file_one_reference, offset, read};

kernel_object! {
    /// `struct file`.
    File
}

impl File {
    #[inline(always)]
    pub(crate) fn inode(self) -> Inode {
        self.field(offset!(file_inode))
    }

    #[inline(always)]
    pub(crate) fn path(self) -> KernelPath {
        KernelPath::at(self.0 + offset!(file_path) as u64)
    }

    /// `FMODE_…`.
    #[inline(always)]
    pub(crate) fn mode(self) -> u32 {
        self.field(offset!(file_mode))
    }

    /// Offset of the next read or write, bytes.
    #[inline(always)]
    pub(crate) fn position(self) -> u64 {
        self.field(offset!(file_pos))
    }

    /// `file.private_data`, whose meaning depends on the kind of file.
    #[inline(always)]
    pub(crate) fn private(self) -> u64 {
        self.field(offset!(file_private))
    }

    /// How many descriptors and other users have it open. Since 6.13 (`file_ref_t`) the
    /// kernel's number is one less, and negative once there are none.
    #[inline(always)]
    pub(crate) fn references(self) -> u64 {
        if self.is_none() {
            return 0;
        }
        let kept: u64 = self.field(offset!(file_count));
        let count = (kept.wrapping_sub(file_one_reference()) as i64).wrapping_add(1);
        if count > 0 { count as u64 } else { 0 }
    }

    /// Whether the file is open.
    #[inline(always)]
    pub(crate) fn has_references(self) -> bool {
        self.references() != 0
    }

    /// Whether one reference is left: one descriptor, or one user.
    #[inline(always)]
    pub(crate) fn has_one_reference(self) -> bool {
        self.references() == 1
    }
}

/// A descriptor's number in a task's table.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Fd(u64);

impl Fd {
    /// The descriptor of a call's result, or of a walk over a table.
    #[inline(always)]
    pub(crate) const fn of(number: u64) -> Self {
        Self(number)
    }

    /// The descriptor of a call's argument, of which the kernel takes the low half.
    #[inline(always)]
    pub(crate) const fn of_argument(argument: u64) -> Self {
        Self(argument as u32 as u64)
    }

    /// The file in a task's table, none where the number is unused.
    #[inline(always)]
    pub(crate) fn file(self, task: Task) -> File {
        // SAFETY: `task` is typed, and so are `files` and `table`, checked for null.
        let (table, max) = unsafe {
            let files: *const u8 = walk(task, offset!(task_files));
            if files.is_null() {
                return File::NONE;
            }
            let table: *const u8 = walk(files, offset!(files_fdt));
            if table.is_null() {
                return File::NONE;
            }
            (
                walk::<u64>(table, offset!(fdt_fd)),
                walk::<u32>(table, offset!(fdt_max)),
            )
        };
        if self.0 >= u64::from(max) {
            File::NONE
        } else {
            read(table, (self.0 as usize) * 8)
        }
    }
}

crate::kernel::global::scalar_newtype!(Fd(u64));

kernel_object! {
    /// `struct files_struct`: the descriptors of one task, or of several that share them.
    FileTable
}

impl FileTable {
    /// Table of a task, none for a task that has ended.
    #[inline(always)]
    pub(crate) fn of(task: Task) -> Self {
        // SAFETY: `task` is typed.
        Self(unsafe { walk(task, offset!(task_files)) })
    }

    /// Key of a descriptor of this table.
    #[inline(always)]
    pub(crate) fn descriptor(self, fd: Fd) -> DescriptorKey {
        DescriptorKey {
            files: self.0,
            fd: fd.0,
        }
    }

    /// Number of descriptors for which the task's table has room.
    #[inline(always)]
    pub(crate) fn size_of(task: Task) -> u32 {
        // SAFETY: `task` is typed, and so are `files` and `table`, checked for null.
        unsafe {
            let files: *const u8 = walk(task, offset!(task_files));
            if files.is_null() {
                return 0;
            }
            let table: *const u8 = walk(files, offset!(files_fdt));
            if table.is_null() {
                return 0;
            }
            walk(table, offset!(fdt_max))
        }
    }

    /// Whether other tasks share the task's table (CLONE_FILES), or the task has none any more.
    #[inline(always)]
    pub(crate) fn is_shared(task: Task) -> bool {
        // SAFETY: `task` is typed, and so is `files`, checked for null.
        unsafe {
            let files: *const u8 = walk(task, offset!(task_files));
            files.is_null() || walk::<u32>(files, offset!(files_count)) != 1
        }
    }
}
