//! Who acts: a task of a session, by a call of its own or for a request of io_uring.

use agent_recorder_abi::kernel_fields::ABSENT;
use agent_recorder_abi::state::Tag;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::kernel::compat::{Task, current, walk};
use crate::kernel::read::{hooks, offset, read};
use crate::kernel::uapi::PF_IO_WORKER;
use crate::session::tag;

/// Who acts.
#[derive(Clone, Copy)]
pub(crate) struct Actor {
    pub(crate) task: Task,
    pub(crate) tag: Tag,
    /// The request of io_uring in which it acts, 0 for a system call of its own.
    pub(crate) request: u64,
}

impl Actor {
    /// The running task, if it is in a session.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        if hooks().see == 0 {
            return None;
        }
        let task = current();
        let tag = tag::tag_of(task)?;
        Some(Self {
            task,
            tag,
            request: request_of(task, tag),
        })
    }

    /// Names the operation until its exit.
    #[inline(always)]
    pub(crate) fn key(&self) -> u64 {
        if self.request == 0 {
            of_thread()
        } else {
            self.request
        }
    }
}

/// A worker of io_uring says which request it works on; a submitter was seen to submit it.
#[inline(always)]
pub(crate) fn request_of(task: Task, tag: Tag) -> u64 {
    let (worker_at, work_at) = (offset!(task_worker), offset!(worker_work));
    // SAFETY: `task` is typed.
    let is_worker = unsafe { walk::<u32>(task, offset!(task_flags)) } & PF_IO_WORKER != 0;
    if !is_worker || worker_at == ABSENT as usize || work_at == ABSENT as usize {
        return tag.request;
    }
    // SAFETY: as above.
    let work: u64 = read(unsafe { walk(task, worker_at) }, work_at);
    if work == 0 {
        0
    } else {
        work - offset!(kiocb_work) as u64
    }
}

/// Names an operation of the running thread that is no request of io_uring.
#[inline(always)]
pub(crate) fn of_thread() -> u64 {
    bpf_get_current_pid_tgid()
}
