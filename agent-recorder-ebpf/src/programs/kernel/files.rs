//! Descriptor tables of tasks, and the files that are open in them.

use crate::kernel::compat::{Task, walk};
use crate::kernel::read::{file_one_reference, offset, read};

/// Address of the `struct file` of a task's descriptor, 0 where there is none.
#[inline(always)]
pub(crate) fn file_of(task: Task, fd: u64) -> u64 {
    // SAFETY: `task` is typed, and so are the pointers that are loaded from it.
    let (table, max) = unsafe {
        let files: *const u8 = walk(task, offset!(task_files));
        if files.is_null() {
            return 0;
        }
        let table: *const u8 = walk(files, offset!(files_fdt));
        if table.is_null() {
            return 0;
        }
        (
            walk::<u64>(table, offset!(fdt_fd)),
            walk::<u32>(table, offset!(fdt_max)),
        )
    };
    if fd >= u64::from(max) {
        0
    } else {
        read(table, (fd as usize) * 8)
    }
}

/// Descriptors that the task's table has room for.
#[inline(always)]
pub(crate) fn table_size(task: Task) -> u32 {
    // SAFETY: as in `file_of`.
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

/// Address of the task's `struct files_struct`: names its descriptor table.
#[inline(always)]
pub(crate) fn files_of(task: Task) -> u64 {
    // SAFETY: `task` is typed.
    unsafe { walk(task, offset!(task_files)) }
}

/// Counts below one reference are negative (`file_ref_t`, 6.13) or zero.
#[inline(always)]
pub(crate) fn has_references(file: u64) -> bool {
    file != 0 && read::<u64>(file, offset!(file_count)) as i64 >= file_one_reference() as i64
}
