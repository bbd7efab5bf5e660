//! The variant for kernels before 5.17: tags in a hash map, reads by bpf_probe_read_kernel, loops
//! that the verifier follows, additions without results.
//!
//! `since_5_17` has the same names for newer kernels.
//!
//! Invariant: a program of such a kernel is not preempted, neither on a tracepoint nor, before
//! 5.11, on a trampoline (the loader uses trampolines only there). Another program can only run on
//! top of it, and ends first.

use core::mem::MaybeUninit;
use core::ptr;

use agent_recorder_abi::event::Trouble;
use agent_recorder_abi::limits::{LOCK_TRIES, MAX_SESSIONS, MAX_SOCKETS, MAX_TAGGED};
use agent_recorder_abi::state::{SessionNumber, SocketKey, Tag, TaggedTask};
use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{HashMap, LruHashMap};

use crate::kernel::counters::{add, trouble};
use crate::kernel::global::global_function;
use crate::kernel::read::offset;

/// Address of a `struct task_struct`, whose type the verifier may not know.
pub(crate) type Task = *const u8;

#[inline(always)]
pub(crate) fn current() -> Task {
    // SAFETY: the helper takes no argument and always returns a task.
    unsafe { bpf_get_current_task() as Task }
}

/// Loads a field from an object.
///
/// # Safety
///
/// `object` is an address in the kernel, or a pointer whose type the verifier knows; `T` holds numbers or addresses.
#[inline(always)]
pub(crate) unsafe fn walk<T: Copy>(object: *const u8, offset: usize) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes all bytes, zeros on failure; the caller promises that `T` allows
    // any.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            object.wrapping_add(offset).cast(),
        );
        value.assume_init()
    }
}

/// The tags, by thread. A thread's is removed at its exit, a leader's at the exit of its group: any
/// thread takes the leader's pid over by an exec.
#[map]
static TAGS: HashMap<u32, TaggedTask> = HashMap::with_max_entries(MAX_TAGGED, 0);

/// The task's tag, mutable.
#[inline(always)]
pub(crate) fn tag_on(task: Task) -> Option<*mut Tag> {
    // SAFETY: `task` is a task.
    let thread: u32 = unsafe { walk(task, offset!(task_pid)) };
    let tagged = TAGS.get_ptr_mut(&thread)?;
    // SAFETY: `task` is a task, and `tagged` a map value, checked for null above.
    unsafe {
        let start: u64 = walk(task, offset!(task_start));
        if (*tagged).start == 0 {
            // User space set the tag while this task was alive.
            (*tagged).start = start;
        } else if (*tagged).start != start {
            return None;
        }
        Some(&raw mut (*tagged).tag)
    }
}

/// Puts a tag on a task. False where the map is full.
#[inline(always)]
pub(crate) fn put_tag(task: Task, tag: Tag) -> bool {
    // SAFETY: `task` is a task.
    let (thread, start) = unsafe {
        (
            walk::<u32>(task, offset!(task_pid)),
            walk::<u64>(task, offset!(task_start)),
        )
    };
    TAGS.insert(&thread, &TaggedTask { tag, start }, u64::from(BPF_ANY))
        .is_ok()
}

/// Removes the tag of an exiting task, and the leader's with the last of a group.
#[inline(always)]
pub(crate) fn drop_tag(task: Task, is_last: bool) {
    // SAFETY: `task` is a task.
    let (thread, group) = unsafe {
        (
            walk::<u32>(task, offset!(task_pid)),
            walk::<u32>(task, offset!(task_tgid)),
        )
    };
    // Tasks outside sessions have no tag.
    if thread != group {
        let _ = TAGS.remove(&thread);
    }
    if is_last {
        let _ = TAGS.remove(&group);
    }
}

/// Removes an earlier thread's tag from the id of a task that was created outside sessions. An exec
/// that killed the other threads and then failed leaves such a tag.
#[inline(always)]
pub(crate) fn drop_stale_tag(task: Task) {
    // SAFETY: `task` is a task, and `tagged` a map value, checked for null above.
    unsafe {
        let thread: u32 = walk(task, offset!(task_pid));
        let Some(tagged) = TAGS.get_ptr(&thread) else {
            return;
        };
        let start = (*tagged).start;
        // User space has just set a tag with start 0, for this task.
        if start != 0 && start != walk::<u64>(task, offset!(task_start)) {
            let _ = TAGS.remove(&thread);
        }
    }
}

/// Removes the tag at the old pid of a thread that took its leader's pid over (de_thread(),
/// fs/exec.c).
#[inline(always)]
pub(crate) fn drop_tag_of(old_pid: u32, task: Task) {
    // SAFETY: `task` is a task.
    if old_pid != unsafe { walk::<u32>(task, offset!(task_pid)) } {
        let _ = TAGS.remove(&old_pid);
    }
}

/// Adds to a value that only this CPU changes; returns the value before. A program that runs on top
/// has restored the value when it ends.
#[inline(always)]
pub(crate) fn add_here(value: *mut u64, addend: u64) -> u64 {
    // SAFETY: `value` is in a map value, checked for null by the caller.
    unsafe {
        let before = ptr::read_volatile(value);
        ptr::write_volatile(value, before.wrapping_add(addend));
        before
    }
}

/// Locks of sessions whose counter is being changed: only one CPU succeeds in the insertion of an
/// element (BPF_NOEXIST).
#[map]
static LOCKS: HashMap<SessionNumber, u8> = HashMap::with_max_entries(MAX_SESSIONS, 0);

/// Adds to a counter of a session; returns the value before. For a process's own calls only:
/// softirq could wait for the call that it interrupted.
#[inline(always)]
pub(crate) fn add_shared(session: SessionNumber, value: *mut u64, addend: u64) -> u64 {
    let is_locked = lock(session);
    // SAFETY: `value` is in a map value, checked for null by the caller.
    let before = unsafe { ptr::read_volatile(value) };
    add(value, addend);
    if is_locked {
        let _ = LOCKS.remove(&session);
    }
    before
}

global_function! {
    /// Takes the lock. False after LOCK_TRIES (a hypervisor stopped the holder's CPU): two CPUs may
    /// then see the same count.
    fn lock(session: SessionNumber) -> bool {
        let mut tries = 0;
        while tries < LOCK_TRIES {
            if LOCKS.insert(&session, &1, u64::from(BPF_NOEXIST)).is_ok() {
                return true;
            }
            tries += 1;
        }
        trouble(Trouble::CountContended);
        false
    }
}

/// Sockets with flags that one of two sides may take.
#[map]
static OFFERED: LruHashMap<SocketKey, u8> = LruHashMap::with_max_entries(MAX_SOCKETS, 0);

/// Announces flags that one of two sides may take.
#[inline(always)]
pub(crate) fn offer(key: &SocketKey) {
    // LRU: insertion fails only without memory; the connect's outcome is then not recorded.
    let _ = OFFERED.insert(key, &1, u64::from(BPF_ANY));
}

/// Takes a socket's flags for the first caller; 0 for the others.
#[inline(always)]
pub(crate) fn claim(key: &SocketKey, flags: *mut u32) -> u32 {
    if OFFERED.remove(key).is_err() {
        return 0;
    }
    // SAFETY: `flags` is in a map value, checked for null by the caller; one side's removal
    // succeeds.
    unsafe {
        let taken = ptr::read_volatile(flags);
        ptr::write_volatile(flags, 0);
        taken
    }
}

/// Rounds of the inner loop, and of the outer one.
pub(crate) const ROUNDS: u64 = 91;
const _: () = assert!(ROUNDS * ROUNDS >= agent_recorder_abi::limits::WALKED_LEVELS as u64);

/// Defines a function that calls its body with an area and 0, 1, 2 … up to a count, until the body
/// returns 1. The verifier follows each round of a loop and refuses more than some 8,000 in one
/// function, so a round is a global function, and so are [`ROUNDS`] rounds.
macro_rules! rounds {
    ([$area:ty, $areas:path] $(#[$doc:meta])* fn $name:ident[$one:ident, $many:ident]($scratch:ident, $index:ident) $body:block) => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $one(area: u32, $index: u64) -> u64 {
            #[inline(always)]
            fn body($scratch: *mut $area, $index: u64) -> i64 $body

            match $areas.get_ptr_mut(area) {
                Some(scratch) => body(scratch, $index) as u64,
                None => 1,
            }
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $many(area: u32, first: u64, count: u64) -> u64 {
            let mut nth = 0;
            while nth < $crate::kernel::compat::ROUNDS {
                if first + nth >= count || $one(area, first + nth) != 0 {
                    return 1;
                }
                nth += 1;
            }
            0
        }

        $(#[$doc])*
        #[inline(always)]
        fn $name(scratch: *mut $area, count: u32) {
            // SAFETY: `scratch` is a map value, checked for null by the caller.
            let area = unsafe { (*scratch).index };
            let mut round = 0;
            while round < $crate::kernel::compat::ROUNDS {
                if $many(area, round * $crate::kernel::compat::ROUNDS, u64::from(count)) != 0 {
                    return;
                }
                round += 1;
            }
        }
    };
}
pub(crate) use rounds;
