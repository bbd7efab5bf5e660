//! Tasks whose type the verifier does not know, and requests of io_uring.
//!
//! Not here: the running task, and typed tasks of hooks (`compat::Task`).

use super::file::{Fd, File};
use super::object::kernel_object;
use crate::kernel::compat::Task;
use crate::kernel::read::{offset, read};

kernel_object! {
    /// `struct task_struct`, read like any other object.
    OtherTask
}

impl OtherTask {
    /// Number of its process in the initial namespace.
    #[inline(always)]
    pub(crate) fn process(self) -> u32 {
        self.field(offset!(task_tgid))
    }

    /// The task of a `struct pid`, none for one that ended. PIDTYPE_PID is the first element of
    /// both arrays, so a thread's number gives that thread.
    #[inline(always)]
    pub(crate) fn of_pid(pid: u64) -> Self {
        let link: u64 = read(pid, offset!(pid_tasks));
        if link == 0 {
            Self::NONE
        } else {
            Self(link - offset!(task_pid_links) as u64)
        }
    }
}

/// `REQ_F_FIXED_FILE` (include/linux/io_uring_types.h).
const FIXED_FILE: u64 = 1;

kernel_object! {
    /// `struct io_kiocb`: a request of io_uring.
    Kiocb
}

impl Kiocb {
    /// The request around a worker's `struct io_wq_work`, none for none.
    #[inline(always)]
    pub(crate) fn of_work(work: u64) -> Self {
        if work == 0 {
            Self::NONE
        } else {
            Self(work - offset!(kiocb_work) as u64)
        }
    }

    /// `IORING_OP_…`.
    #[inline(always)]
    pub(crate) fn opcode(self) -> u32 {
        u32::from(self.field::<u8>(offset!(kiocb_opcode)))
    }

    /// `REQ_F_…`.
    #[inline(always)]
    pub(crate) fn flags(self) -> u64 {
        self.field(offset!(kiocb_flags))
    }

    #[inline(always)]
    pub(crate) fn descriptor_number(self) -> i32 {
        self.field(offset!(kiocb_fd))
    }

    /// The file that the kernel has looked up, none before it issues the request.
    #[inline(always)]
    pub(crate) fn found_file(self) -> File {
        self.field(offset!(kiocb_file))
    }

    /// The file of the request. The kernel looks it up when it issues the request, after the hook;
    /// a file that is registered with the ring (IOSQE_FIXED_FILE) is unknown before: none.
    #[inline(always)]
    pub(crate) fn file(self, task: Task) -> File {
        let file = self.found_file();
        let flags = self.flags();
        if !file.is_none() || flags & FIXED_FILE != 0 {
            return file;
        }
        Fd::of_argument(self.descriptor_number() as u64).file(task)
    }

    /// Address of the operation's own structure, which lies over `io_kiocb.cmd`.
    #[inline(always)]
    pub(crate) fn command(self) -> u64 {
        self.0 + offset!(kiocb_cmd) as u64
    }
}
