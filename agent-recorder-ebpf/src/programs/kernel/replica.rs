//! Each event once, though the kernel skips programs.
//!
//! The kernel skips a tracing program on a CPU where it is under way already.
//! Where tracepoints can be preempted (Linux 7), all that a second task does
//! while a first one is off the CPU in the middle of a program would so go
//! unrecorded. There each program is attached several times, and a later replica
//! does what all before it were kept from. Only what every replica is kept from is
//! missing: the misses of the last ones are an upper bound.

use crate::kernel::compat::{Task, tag_on};
use crate::kernel::read::hooks;

/// Which of its replicas a program is, in the order in which the kernel calls them.
#[derive(Clone, Copy)]
pub(crate) enum Replica {
    First = 1,
    Second = 2,
    Third = 3,
}

/// What happens to a task: the place of its kind's bits in [`agent_recorder_abi::state::Tag::handled`].
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Exec = 0,
    Exit = 2,
    Call = 4,
    Submission = 6,
    Sent = 8,
    Received = 10,
}

/// The bits of one kind of event: wide enough for the number of a replica.
const REPLICA_BITS: u32 = 0b11;

/// Whether this replica is the one to handle an event of the task.
///
/// Replicas come in their order. So one that comes after an earlier one meets
/// an event that was handled, and one that does not, a new one. Where the last
/// replicas are kept from one event and the first from the next, the first that
/// comes takes that for the one before: within the bound.
#[inline(always)]
pub(crate) fn is_ours(replica: Replica, task: Task, event: Event) -> bool {
    if hooks().copied == 0 {
        return true;
    }
    let Some(handled) = handled(task) else {
        return true;
    };
    // SAFETY: in the task's storage. Only programs on this task's own acts come here, one after the other.
    unsafe {
        let last = *handled >> event as u32 & REPLICA_BITS;
        *handled = *handled & !(REPLICA_BITS << event as u32) | mark_of(replica, event);
        last == 0 || last >= replica as u32
    }
}

/// The mark that a replica leaves on a task, also on one that it tags in the middle of an event.
#[inline(always)]
pub(crate) fn mark_of(replica: Replica, event: Event) -> u32 {
    (replica as u32) << event as u32
}

/// Where the task's handled events are noted; `None` for a task without a tag.
#[inline(always)]
pub(crate) fn handled(task: Task) -> Option<*mut u32> {
    // SAFETY: not null, and storage holds a Tag.
    tag_on(task).map(|tag| unsafe { &raw mut (*tag).handled })
}
