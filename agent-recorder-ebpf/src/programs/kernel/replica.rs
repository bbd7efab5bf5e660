//! Replicas: each event is handled once, although the kernel skips programs.
//!
//! The kernel skips a tracing program on a CPU where that program is already running. Where
//! tracepoints can be preempted (Linux 7), the acts of a second task would be missed while a first
//! one is preempted inside a program. There a program is attached several times, and a later
//! replica handles the events that all earlier ones were skipped for. Events that every replica was
//! skipped for are missing: the misses of the last replica are an upper bound.

use crate::kernel::compat::{Task, tag_on};
use crate::kernel::read::hooks;

/// Number of a replica, in the order in which the kernel calls them.
#[derive(Clone, Copy)]
pub(crate) enum Replica {
    First = 1,
    Second = 2,
    Third = 3,
}

/// Kind of an event: the shift of its bits in [`agent_recorder_abi::state::Tag::handled`].
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Exec = 0,
    Exit = 2,
    Call = 4,
    Submission = 6,
    Sent = 8,
    Received = 10,
}

/// Bits of one kind of event, wide enough for the number of a replica.
const REPLICA_BITS: u32 = 0b11;

/// Whether this replica has to handle an event of the task.
///
/// Replicas run in their order. A replica that runs after a lower one meets a handled event; any
/// other meets a new one. If the last replicas are skipped for one event and the first for the
/// next, the first to run takes the new event for the old: a miss within the bound.
#[inline(always)]
pub(crate) fn is_ours(replica: Replica, task: Task, event: Event) -> bool {
    if hooks().copied == 0 {
        return true;
    }
    let Some(handled) = handled(task) else {
        return true;
    };
    // SAFETY: `handled` is in the task's storage. Only programs on the task's own acts write it,
    // one after the other.
    unsafe {
        let last = *handled >> event as u32 & REPLICA_BITS;
        *handled = *handled & !(REPLICA_BITS << event as u32) | mark_of(replica, event);
        last == 0 || last >= replica as u32
    }
}

/// Mark that a replica leaves on a task, even on one that it tags during an event.
#[inline(always)]
pub(crate) fn mark_of(replica: Replica, event: Event) -> u32 {
    (replica as u32) << event as u32
}

/// The task's handled events; `None` for a task without a tag.
#[inline(always)]
pub(crate) fn handled(task: Task) -> Option<*mut u32> {
    // SAFETY: `tag_on` returns a pointer to a Tag.
    tag_on(task).map(|tag| unsafe { &raw mut (*tag).handled })
}
