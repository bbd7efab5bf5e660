//! Tags: the session of a task, and notes on the task.
//!
//! Not here: the moments at which a task receives or loses its tag (`dispatch::task_lifecycle`,
//! `operations::exec`).

use agent_recorder_abi::event::Trouble;
use agent_recorder_abi::state::{Session, SessionNumber, Tag};
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;

use crate::context::maps;
use crate::kernel::compat::{Task, add_here, put_tag, tag_on};
use crate::kernel::counters::trouble;
use crate::kernel::types::Kiocb;

/// The task's tag; `None` outside sessions, where most tasks are.
#[inline(always)]
pub(crate) fn tag_of(task: Task) -> Option<Tag> {
    // SAFETY: `tag_on` returns a pointer to a Tag.
    let tag = unsafe { *tag_on(task)? };
    (tag.session != 0).then_some(tag)
}

/// Notes the request of io_uring that the task submits, or none.
#[inline(always)]
pub(crate) fn note_request(task: Task, request: Kiocb) {
    if let Some(tag) = tag_on(task) {
        // SAFETY: `tag_on` returns a pointer to a Tag.
        unsafe { (*tag).request = request.address() };
    }
}

/// Notes whether addresses of the task's call are stored.
#[inline(always)]
pub(crate) fn note_sockaddr(task: Task, copied: u32) {
    if let Some(tag) = tag_on(task) {
        // SAFETY: `tag_on` returns a pointer to a Tag.
        unsafe { (*tag).copied_sockaddr = copied };
    }
}

/// Tags a task. False without room: that is counted, and the task runs unrecorded.
#[inline(always)]
pub(crate) fn set_tag(task: Task, tag: Tag) -> bool {
    let is_put = put_tag(task, tag);
    if !is_put {
        trouble(Trouble::TagFailed);
    }
    is_put
}

/// Bits of a session's number for the count; the bits above name the CPU.
const NUMBERED: u64 = 40;

/// Begins a session with a number of the kernel. `None` when the counters' map is unreadable.
#[inline(always)]
pub(crate) fn new_session() -> Option<SessionNumber> {
    // SAFETY: the helper takes no argument.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
    let number = cpu << NUMBERED | (add_here(maps::BEGUN.get_ptr_mut(0)?, 1) + 1);
    let begin = maps::NEW_SESSION.get_ptr(0)?;
    // SAFETY: `begin` is a map value, checked for null above, and a `Session`.
    if maps::SESSIONS
        .insert(&number, unsafe { &*begin }, 0)
        .is_err()
    {
        trouble(Trouble::SessionMapFull);
    }
    Some(number)
}

/// The session of a tag; `None` where the map was full at its beginning, which was counted.
#[inline(always)]
pub(crate) fn session(tag: Tag) -> Option<*mut Session> {
    maps::SESSIONS.get_ptr_mut(&tag.session)
}
