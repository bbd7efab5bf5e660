//! The actor: a task of a session, in a call of its own or for a request of io_uring.

use agent_recorder_abi::kernel_fields::ABSENT;
use agent_recorder_abi::state::Tag;

use crate::context::operation::OperationKey;
use crate::kernel::compat::{Task, current, walk};
use crate::kernel::read::{hooks, offset, read};
use crate::kernel::types::Kiocb;
use crate::kernel::uapi::{PF_EXITING, PF_IO_WORKER};
use crate::session::tag;

#[derive(Clone, Copy)]
pub(crate) struct Actor {
    pub(crate) task: Task,
    pub(crate) tag: Tag,
    /// The request of io_uring that the task works on, none for a call of its own.
    pub(crate) request: Kiocb,
}

impl Actor {
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

    /// Key of the operation until its exit.
    #[inline(always)]
    pub(crate) fn key(&self) -> OperationKey {
        if self.request.is_none() {
            OperationKey::of_thread()
        } else {
            OperationKey::of_request(self.request)
        }
    }
}

/// Whether a task works for io_uring, and has no call of its own.
#[inline(always)]
fn is_worker(task: Task) -> bool {
    // SAFETY: `task` is typed.
    unsafe { walk::<u32>(task, offset!(task_flags)) & PF_IO_WORKER != 0 }
}

/// Whether a stop signal to the task's process holds up what the task does: not for a worker
/// of io_uring, and not for a task that is ending.
#[inline(always)]
pub(crate) fn can_stop(task: Task) -> bool {
    // SAFETY: `task` is typed.
    unsafe { walk::<u32>(task, offset!(task_flags)) & (PF_IO_WORKER | PF_EXITING) == 0 }
}

/// The request of a task: `io_worker` has a worker's, the tag that of a submitter.
#[inline(always)]
pub(crate) fn request_of(task: Task, tag: Tag) -> Kiocb {
    let (worker_at, work_at) = (offset!(task_worker), offset!(worker_work));
    if !is_worker(task) || worker_at == ABSENT as usize || work_at == ABSENT as usize {
        return Kiocb::at(tag.request);
    }
    // SAFETY: `task` is typed.
    Kiocb::of_work(read(unsafe { walk(task, worker_at) }, work_at))
}
