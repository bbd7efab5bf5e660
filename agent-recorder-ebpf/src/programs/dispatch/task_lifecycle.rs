//! Tasks of sessions from fork to exit: a child receives its parent's tag, and the last thread of a
//! process emits its exit.
//!
//! Not here: the start of a program (`operations::exec`).

use agent_recorder_abi::event::{ExitBody, ForkBody, Kind};
use agent_recorder_abi::state::{EndedKey, Tag};
use aya_ebpf::bindings::BPF_NOEXIST;

use crate::context::areas::with_area;
use crate::context::maps;
use crate::context::scratch::Scratch;
use crate::event::writer::Writer;
use crate::guard::{enforce, pending_cuts};
use crate::kernel::compat::{Task, current, drop_stale_tag, drop_tag, walk};
use crate::kernel::read::offset;
use crate::kernel::replica::{Event, Replica, is_ours};
use crate::operations::fd_table;
use crate::session::tag;

/// `SIGNAL_GROUP_EXIT` (include/linux/sched/signal.h): the group's exit code counts, not the leader's.
const SIGNAL_GROUP_EXIT: u32 = 4;

/// errno(3): the key exists.
const EEXIST: i32 = 17;

/// The running task has created a child, which has not run.
#[inline(always)]
pub(crate) fn created(child: Task) {
    let parent = current();
    // SAFETY: `child` and `parent` are typed.
    let (child_group, parent_group) = unsafe {
        (
            walk::<u32>(child, offset!(task_tgid)),
            walk::<u32>(parent, offset!(task_tgid)),
        )
    };
    let Some(tag) = tag::tag_of(parent) else {
        drop_stale_tag(child);
        remember_lineage(child_group, parent_group);
        return;
    };
    // An earlier replica of this program has tagged the child.
    if tag::tag_of(child).is_some() {
        return;
    }
    if child_group == parent_group {
        tag::set_tag(child, inherited(tag, tag.image));
        return;
    }
    // SAFETY: `child` is typed, and leads its own group.
    let start: u64 = unsafe { walk(child, offset!(task_start)) };
    if !tag::set_tag(child, inherited(tag, start)) {
        return;
    }
    with_area!(|scratch| {
        fd_table::inherited(scratch, parent, child, tag);
        pending_cuts::inherited(scratch, parent, child, tag);
        emit_fork(scratch, child, tag, child_group, start);
    });
    enforce::enforce(tag);
}

/// Tag of a child, which runs its parent's program.
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

/// Stores parents while user space searches for running agents: /proc does not show the parent of a
/// process whose parent has ended.
#[inline(always)]
fn remember_lineage(child: u32, parent: u32) {
    if child != parent && maps::ADOPTING.get(0).is_some_and(|adopting| *adopting != 0) {
        // LRU: insertion fails only without memory. /proc then shows this fork while the parent
        // lives.
        let _ = maps::LINEAGE.insert(&child, &parent, 0);
    }
}

/// A task exits; the last of its group ends the process. Two that exit at one time can both read
/// that no task lives (the tracepoint passes `group_dead` since 6.16): the first emits the event.
#[inline(always)]
pub(crate) fn exiting(replica: Replica, task: Task) {
    // SAFETY: `task` and `signal` are typed.
    let is_last = unsafe {
        let signal: *const u8 = walk(task, offset!(task_signal));
        walk::<u32>(signal, offset!(signal_live)) == 0
    };
    emit_end(replica, task, is_last);
    drop_tag(task, is_last);
}

/// Whether this thread is the first of its group to emit the exit.
#[inline(always)]
fn is_first_end(task: Task) -> bool {
    // SAFETY: `task` and `leader` are typed.
    let key = unsafe {
        let leader: Task = walk(task, offset!(task_leader));
        EndedKey {
            start: walk(leader, offset!(task_start)),
            pid: walk(task, offset!(task_tgid)),
            spare: 0,
        }
    };
    // One of two insertions at one time fails with EEXIST. Without memory both fail otherwise: two
    // events are better than none.
    let put = maps::ENDED.insert(&key, &1, u64::from(BPF_NOEXIST));
    put != Err(-EEXIST)
}

#[inline(always)]
fn emit_end(replica: Replica, task: Task, is_last: bool) {
    let Some(tag) = tag::tag_of(task) else { return };
    if !is_ours(replica, task, Event::Exit) || !is_last || !is_first_end(task) {
        return;
    }
    // SAFETY: `task`, `signal` and `leader` are typed.
    let status = unsafe {
        let signal: *const u8 = walk(task, offset!(task_signal));
        let leader: Task = walk(task, offset!(task_leader));
        // Both values are loaded: of two branches the compiler makes one load through a selected
        // pointer, and the verifier of 6.1 also follows impossible pairs of pointer and offset.
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
        pending_cuts::closed_by_exit(scratch, task, tag);
        let writer = Writer::begin::<ExitBody>(scratch);
        writer.header(Kind::Exit, tag);
        // SAFETY: `begin` left room for the body.
        unsafe { *writer.body::<ExitBody>() = ExitBody { status, spare: 0 } };
        writer.submit(Kind::Exit, false);
    });
}
