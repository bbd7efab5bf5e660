//! Tags: who is in a session, and what is noted on a task.
//!
//! Not here: when a task gets its tag and loses it (`dispatch::task_lifecycle`,
//! `operations::exec`).

use agent_recorder_abi::event::Trouble;
use agent_recorder_abi::state::{Session, SessionNumber, Tag};
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;

use crate::context::maps;
use crate::kernel::compat::{Task, add_here, put_tag, tag_on};
use crate::kernel::counters::trouble;
use crate::kernel::types::Kiocb;

/// The task's tag; `None` for whoever is in no session, which is most of the machine.
#[inline(always)]
pub(crate) fn tag_of(task: Task) -> Option<Tag> {
    // SAFETY: not null, and storage holds a Tag.
    let tag = unsafe { *tag_on(task)? };
    (tag.session != 0).then_some(tag)
}

/// Notes which request of io_uring the task submits; none for none.
#[inline(always)]
pub(crate) fn note_request(task: Task, request: Kiocb) {
    if let Some(tag) = tag_on(task) {
        // SAFETY: not null, and storage holds a Tag.
        unsafe { (*tag).request = request.address() };
    }
}

/// Notes whether addresses of the call that the task is in are kept.
#[inline(always)]
pub(crate) fn note_given(task: Task, given: u32) {
    if let Some(tag) = tag_on(task) {
        // SAFETY: as above.
        unsafe { (*tag).given = given };
    }
}

/// Tags a task. False when there was no room for it: then it is counted, and runs unrecorded.
#[inline(always)]
pub(crate) fn set_tag(task: Task, tag: Tag) -> bool {
    let is_put = put_tag(task, tag);
    if !is_put {
        trouble(Trouble::TagFailed);
    }
    is_put
}

/// Bits of a session's number that count; those above name the CPU it began on.
const NUMBERED: u64 = 40;

/// Begins a session of the kernel's own numbering. `None` when the counters' map cannot be read.
#[inline(always)]
pub(crate) fn new_session() -> Option<SessionNumber> {
    // SAFETY: the helper takes nothing.
    let cpu = u64::from(unsafe { bpf_get_smp_processor_id() });
    let number = cpu << NUMBERED | (add_here(maps::BEGUN.get_ptr_mut(0)?, 1) + 1);
    let begin = maps::NEW_SESSION.get_ptr(0)?;
    // SAFETY: `begin` is a map value of the size that SESSIONS holds.
    if maps::SESSIONS
        .insert(&number, unsafe { &*begin }, 0)
        .is_err()
    {
        trouble(Trouble::SessionMapFull);
    }
    Some(number)
}

/// The session of a tag, `None` where the map was full when it began (then counted as trouble).
#[inline(always)]
pub(crate) fn session(tag: Tag) -> Option<*mut Session> {
    maps::SESSIONS.get_ptr_mut(&tag.session)
}
