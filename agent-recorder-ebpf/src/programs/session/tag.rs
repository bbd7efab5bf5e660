//! Tags: who is in a session, from a process's first instruction to its end.

use agent_recorder_abi::event::{ExitBody, ForkBody, Kind, Trouble};
use agent_recorder_abi::state::{EndedKey, SessionNumber, Tag};
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;

use crate::context::maps;
use crate::event::writer::{Scratch, Writer, trouble, with_area};
use crate::guard::budget;
use crate::guard::overwrite;
use crate::kernel::compat::{add_here, drop_stale_tag, drop_tag, put_tag, tag_on};
use crate::kernel::read::{Task, current, offset, walk};
use crate::kernel::replica::{Event, Replica, is_ours};
use crate::operations::fd_table;

/// `SIGNAL_GROUP_EXIT` (include/linux/sched/signal.h): the group's exit code counts, not the leader's.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// errno(3): the element is there.
const EEXIST: i32 = 17;

/// The task's tag; `None` for whoever is in no session, which is most of the machine.
#[inline(always)]
pub(crate) fn tag_of(task: Task) -> Option<Tag> {
    // SAFETY: not null, and storage holds a Tag.
    let tag = unsafe { *tag_on(task)? };
    (tag.session != 0).then_some(tag)
}

/// Notes which request of io_uring the task submits; 0 for none.
#[inline(always)]
pub(crate) fn note_request(task: Task, request: u64) {
    if let Some(tag) = tag_on(task) {
        // SAFETY: not null, and storage holds a Tag.
        unsafe { (*tag).request = request };
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

/// Where the task's handled events are noted; `None` for a task without a tag.
#[inline(always)]
pub(crate) fn handled(task: Task) -> Option<*mut u32> {
    // SAFETY: not null, and storage holds a Tag.
    tag_on(task).map(|tag| unsafe { &raw mut (*tag).handled })
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

/// A task was made by the current one, and has not run.
#[inline(always)]
pub(crate) fn created(child: Task) {
    let parent = current();
    // SAFETY: both are typed.
    let (child_group, parent_group) = unsafe {
        (
            walk::<u32>(child, offset!(task_tgid)),
            walk::<u32>(parent, offset!(task_tgid)),
        )
    };
    let Some(tag) = tag_of(parent) else {
        drop_stale_tag(child);
        remember_lineage(child_group, parent_group);
        return;
    };
    // By the first replica of this program.
    if tag_of(child).is_some() {
        return;
    }
    if child_group == parent_group {
        set_tag(child, inherited(tag, tag.image));
        return;
    }
    // SAFETY: `child` is typed; it leads its own group.
    let start: u64 = unsafe { walk(child, offset!(task_start)) };
    if !set_tag(child, inherited(tag, start)) {
        return;
    }
    with_area!(|scratch| {
        fd_table::inherited(scratch, parent, child, tag);
        emit_fork(scratch, child, tag, child_group, start);
    });
    budget::enforce(tag);
}

/// A child's tag: it runs its parent's program.
#[inline(always)]
fn inherited(tag: Tag, image: u64) -> Tag {
    Tag {
        restores: tag.restores,
        ..Tag::new(tag.session, image)
    }
}

#[inline(always)]
fn emit_fork(scratch: *mut Scratch, child: Task, tag: Tag, child_pid: u32, start: u64) {
    let writer = Writer::begin::<ForkBody>(scratch);
    writer.header(Kind::Fork, tag);
    // SAFETY: `child` is typed; `begin` left room for the body.
    unsafe {
        let real_parent: Task = walk(child, offset!(task_parent));
        *writer.body::<ForkBody>() = ForkBody {
            child_start_time: start,
            child_pid,
            child_ppid: walk(real_parent, offset!(task_tgid)),
        };
    }
    writer.submit(Kind::Fork, false);
}

/// While user space looks for running agents, who was whose child is kept here:
/// a parent that ends in between takes that knowledge along.
#[inline(always)]
fn remember_lineage(child: u32, parent: u32) {
    if child != parent && maps::ADOPTING.get(0).is_some_and(|adopting| *adopting != 0) {
        // The map is LRU: insertion fails only without memory, and then this fork is not known; /proc shows it while its parent lives.
        let _ = maps::LINEAGE.insert(&child, &parent, 0);
    }
}

/// A task ends. Only the last of its group ends the process: two that end at
/// one time can both find that nobody lives (6.16 tells which is the last,
/// older kernels do not), and the first of them to come is taken.
#[inline(always)]
pub(crate) fn exiting(replica: Replica, task: Task) {
    // SAFETY: `task` and what is loaded from it are typed.
    let is_last = unsafe {
        let signal: *const u8 = walk(task, offset!(task_signal));
        walk::<u32>(signal, offset!(signal_live)) == 0
    };
    tell_end(replica, task, is_last);
    drop_tag(task, is_last);
}

/// Whether no other thread of the group has told of its end.
#[inline(always)]
fn is_first_told(task: Task) -> bool {
    // SAFETY: `task` and what is loaded from it are typed.
    let key = unsafe {
        let leader: Task = walk(task, offset!(task_leader));
        EndedKey {
            start: walk(leader, offset!(task_start)),
            pid: walk(task, offset!(task_tgid)),
            spare: 0,
        }
    };
    // One of two that are put in at one time finds the other there. Without
    // memory it fails, too: told of twice is better than not at all.
    let put = maps::ENDED.insert(&key, &1, u64::from(BPF_NOEXIST));
    put != Err(-EEXIST)
}

#[inline(always)]
fn tell_end(replica: Replica, task: Task, is_last: bool) {
    let Some(tag) = tag_of(task) else { return };
    if !is_ours(replica, task, Event::Exit) || !is_last || !is_first_told(task) {
        return;
    }
    // SAFETY: `task` and what is loaded from it are typed.
    let status = unsafe {
        let signal: *const u8 = walk(task, offset!(task_signal));
        let leader: Task = walk(task, offset!(task_leader));
        // Both are loaded: of two branches the compiler makes one load from a
        // chosen pointer, of whose pairs 6.1's verifier also tries those that cannot be.
        let of_group = walk::<u32>(signal, offset!(signal_exit_code));
        let of_leader = walk::<u32>(leader, offset!(task_exit_code));
        if walk::<u32>(signal, offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 {
            of_group
        } else {
            of_leader
        }
    };
    with_area!(|scratch| {
        fd_table::closed_by_exit(scratch, task, tag);
        overwrite::closed_by_exit(scratch, task, tag);
        let writer = Writer::begin::<ExitBody>(scratch);
        writer.header(Kind::Exit, tag);
        // SAFETY: `begin` left room for it.
        unsafe { *writer.body::<ExitBody>() = ExitBody { status, spare: 0 } };
        writer.submit(Kind::Exit, false);
    });
}
