//! Open files, and the descriptors of tasks that lead to them.
//!
//! Not here: what a socket's file has behind it (`socket`).

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

    /// Where the next read or write begins, bytes.
    #[inline(always)]
    pub(crate) fn position(self) -> u64 {
        self.field(offset!(file_pos))
    }

    /// `file.private_data`: whatever its kind of file keeps there.
    #[inline(always)]
    pub(crate) fn private(self) -> u64 {
        self.field(offset!(file_private))
    }

    #[inline(always)]
    fn references(self) -> u64 {
        self.field(offset!(file_count))
    }

    /// Whether anybody has it open. Counts below one reference are negative (`file_ref_t`, 6.13) or zero.
    #[inline(always)]
    pub(crate) fn has_references(self) -> bool {
        !self.is_none() && self.references() as i64 >= file_one_reference() as i64
    }

    /// Whether only one descriptor, or one user of it, is left.
    #[inline(always)]
    pub(crate) fn has_one_reference(self) -> bool {
        self.references() == file_one_reference()
    }
}

/// A descriptor: its number in a task's table.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Fd(u64);

impl Fd {
    /// From a number, as a call's result or a walk over a table has it.
    #[inline(always)]
    pub(crate) const fn of(number: u64) -> Self {
        Self(number)
    }

    /// From a call's argument: the kernel takes its low half.
    #[inline(always)]
    pub(crate) const fn of_argument(argument: u64) -> Self {
        Self(argument as u32 as u64)
    }

    /// The file that it leads to in a task's table, none where there is none.
    #[inline(always)]
    pub(crate) fn file(self, task: Task) -> File {
        // SAFETY: `task` is typed, and so are the pointers that are loaded from it.
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
    /// The task's, none for one that has ended.
    #[inline(always)]
    pub(crate) fn of(task: Task) -> Self {
        // SAFETY: `task` is typed.
        Self(unsafe { walk(task, offset!(task_files)) })
    }

    /// The key of a descriptor in it.
    #[inline(always)]
    pub(crate) fn descriptor(self, fd: Fd) -> DescriptorKey {
        DescriptorKey {
            files: self.0,
            fd: fd.0,
        }
    }

    /// How many descriptors the task's table has room for.
    #[inline(always)]
    pub(crate) fn size_of(task: Task) -> u32 {
        // SAFETY: as in `Fd::file`.
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

    /// Whether other tasks have the task's table, too (CLONE_FILES), or it has none any more.
    #[inline(always)]
    pub(crate) fn is_shared(task: Task) -> bool {
        // SAFETY: as in `Fd::file`.
        unsafe {
            let files: *const u8 = walk(task, offset!(task_files));
            files.is_null() || walk::<u32>(files, offset!(files_count)) != 1
        }
    }
}
