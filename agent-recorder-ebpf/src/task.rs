//! Tags: who is in a session, from a process's first instruction to its end.

use agent_recorder_abi::event::{ExitBody, ForkBody, Kind, Trouble};
use agent_recorder_abi::state::{SessionNumber, Tag};
use aya_ebpf::bindings::BPF_LOCAL_STORAGE_GET_F_CREATE;
use aya_ebpf::helpers::generated::bpf_task_storage_get;

use crate::emit::{Scratch, Writer, add, trouble, with_area};
use crate::kernel::{Task, current, offset, walk};
use crate::once::{Copy, Event, is_ours};
use crate::{descriptor, guard, maps};

/// `SIGNAL_GROUP_EXIT` (include/linux/sched/signal.h): the group's exit code counts, not the leader's.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// The task's tag; `None` for whoever is in no session, which is most of the machine.
#[inline(always)]
pub(crate) fn tag_of(task: Task) -> Option<Tag> {
    // SAFETY: not null, and storage holds a Tag.
    let tag = unsafe { *stored(task)? };
    (tag.session != 0).then_some(tag)
}

/// The task's own tag, to change.
#[inline(always)]
fn stored(task: Task) -> Option<*mut Tag> {
    // SAFETY: map and task are of the types that the helper takes; no value is given, none is made.
    let stored = unsafe {
        bpf_task_storage_get(
            maps::TAGS.as_ptr(),
            task.cast_mut().cast(),
            core::ptr::null_mut(),
            0,
        )
    };
    (!stored.is_null()).then_some(stored.cast())
}

/// Notes which request of io_uring the task submits; 0 for none.
#[inline(always)]
pub(crate) fn note_request(task: Task, request: u64) {
    if let Some(tag) = stored(task) {
        // SAFETY: not null, and storage holds a Tag.
        unsafe { (*tag).request = request };
    }
}

/// Notes whether the removal that the task is in is counted.
#[inline(always)]
pub(crate) fn note_counted(task: Task, counted: u32) {
    if let Some(tag) = stored(task) {
        // SAFETY: as above.
        unsafe { (*tag).counted = counted };
    }
}

/// Where the task's handled events are noted; `None` for a task without a tag.
#[inline(always)]
pub(crate) fn handled(task: Task) -> Option<*mut u32> {
    // SAFETY: not null, and storage holds a Tag.
    stored(task).map(|tag| unsafe { &raw mut (*tag).handled })
}

/// Tags a task. False when the kernel had no memory for it: then it is counted, and runs unrecorded.
#[inline(always)]
pub(crate) fn set_tag(task: Task, mut tag: Tag) -> bool {
    // SAFETY: as in `tag_of`; the initial value is on the stack.
    let stored = unsafe {
        bpf_task_storage_get(
            maps::TAGS.as_ptr(),
            task.cast_mut().cast(),
            (&raw mut tag).cast(),
            u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE),
        )
    }
    .cast::<Tag>();
    if stored.is_null() {
        trouble(Trouble::TagFailed);
        return false;
    }
    // It may have been there before: then the initial value was not used.
    // SAFETY: not null.
    unsafe { *stored = tag };
    true
}

/// Begins a session of the kernel's own numbering. `None` when the counters' map cannot be read.
#[inline(always)]
pub(crate) fn new_session() -> Option<SessionNumber> {
    let last = maps::LAST_SESSION.get_ptr_mut(0)?;
    let number = add(last, 1) + 1;
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
        remember_lineage(child_group, parent_group);
        return;
    };
    // By the first copy of this program.
    if tag_of(child).is_some() {
        return;
    }
    if child_group == parent_group {
        set_tag(child, Tag::new(tag.session, tag.image));
        return;
    }
    // SAFETY: `child` is typed; it leads its own group.
    let start: u64 = unsafe { walk(child, offset!(task_start)) };
    if !set_tag(child, Tag::new(tag.session, start)) {
        return;
    }
    with_area(|scratch| {
        descriptor::inherited(scratch, parent, child, tag);
        emit_fork(scratch, parent, child, tag, child_group, start);
    });
    guard::enforce(tag);
}

#[inline(always)]
fn emit_fork(
    scratch: *mut Scratch,
    parent: Task,
    child: Task,
    tag: Tag,
    child_pid: u32,
    start: u64,
) {
    let writer = Writer::begin::<ForkBody>(scratch);
    writer.header(Kind::Fork, tag, parent);
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

/// A task ends. Only the last of its group ends the process.
#[inline(always)]
pub(crate) fn exiting(copy: Copy, task: Task) {
    let Some(tag) = tag_of(task) else { return };
    if !is_ours(copy, task, Event::Exit) {
        return;
    }
    // SAFETY: `task` and what is loaded from it are typed.
    let (live, status) = unsafe {
        let signal: *const u8 = walk(task, offset!(task_signal));
        let leader: Task = walk(task, offset!(task_leader));
        let status = if walk::<u32>(signal, offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 {
            walk::<u32>(signal, offset!(signal_exit_code))
        } else {
            walk::<u32>(leader, offset!(task_exit_code))
        };
        (walk::<u32>(signal, offset!(signal_live)), status)
    };
    if live != 0 {
        return;
    }
    with_area(|scratch| {
        descriptor::closed_by_exit(scratch, task, tag);
        let writer = Writer::begin::<ExitBody>(scratch);
        writer.header(Kind::Exit, tag, task);
        // SAFETY: `begin` left room for it.
        unsafe { *writer.body::<ExitBody>() = ExitBody { status, spare: 0 } };
        writer.submit(Kind::Exit, false);
    });
}
