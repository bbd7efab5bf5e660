//! What the programs rest on, as kernels before 5.17 give it: tags in a hash
//! map, reads by bpf_probe_read_kernel, loops that the verifier follows,
//! additions without results.
//!
//! `since_5_17` has the same names for newer ones.
//!
//! Relied on here: a program of such a kernel is not preempted, neither on a
//! tracepoint nor, before 5.11, on a trampoline (the loader uses those only
//! there). What comes in between runs on top, and ends before it goes on.

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

/// The address of a `struct task_struct`; the verifier may know no more of it than that.
pub(crate) type Task = *const u8;

/// The running task.
#[inline(always)]
pub(crate) fn current() -> Task {
    // SAFETY: the helper takes nothing and always answers.
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
    // SAFETY: the destination has the size that is named; the helper writes all of it, zeros on failure.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            object.wrapping_add(offset).cast(),
        );
        value.assume_init()
    }
}

/// The tags, by thread. Removed at the thread's end; that of a group's leader
/// at the end of the group, for any thread takes its pid over by an exec.
#[map]
static TAGS: HashMap<u32, TaggedTask> = HashMap::with_max_entries(MAX_TAGGED, 0);

/// The task's own tag, to change.
#[inline(always)]
pub(crate) fn tag_on(task: Task) -> Option<*mut Tag> {
    // SAFETY: a task.
    let thread: u32 = unsafe { walk(task, offset!(task_pid)) };
    let tagged = TAGS.get_ptr_mut(&thread)?;
    // SAFETY: a task, and a map value, checked not null.
    unsafe {
        let start: u64 = walk(task, offset!(task_start));
        if (*tagged).start == 0 {
            // Set by user space while this task was alive.
            (*tagged).start = start;
        } else if (*tagged).start != start {
            return None;
        }
        Some(&raw mut (*tagged).tag)
    }
}

/// Puts a tag on a task. False when the map is full.
#[inline(always)]
pub(crate) fn put_tag(task: Task, tag: Tag) -> bool {
    // SAFETY: a task.
    let (thread, start) = unsafe {
        (
            walk::<u32>(task, offset!(task_pid)),
            walk::<u64>(task, offset!(task_start)),
        )
    };
    TAGS.insert(&thread, &TaggedTask { tag, start }, u64::from(BPF_ANY))
        .is_ok()
}

/// A task ends; the last one of its group, or not.
#[inline(always)]
pub(crate) fn drop_tag(task: Task, is_last: bool) {
    // SAFETY: a task.
    let (thread, group) = unsafe {
        (
            walk::<u32>(task, offset!(task_pid)),
            walk::<u32>(task, offset!(task_tgid)),
        )
    };
    // Absent for all that are in no session.
    if thread != group {
        let _ = TAGS.remove(&thread);
    }
    if is_last {
        let _ = TAGS.remove(&group);
    }
}

/// A task was made outside sessions, perhaps with the id of one whose tag
/// stayed: an exec that killed the other threads and failed then leaves its
/// thread's.
#[inline(always)]
pub(crate) fn drop_stale_tag(task: Task) {
    // SAFETY: a task, and a map value, checked not null.
    unsafe {
        let thread: u32 = walk(task, offset!(task_pid));
        let Some(tagged) = TAGS.get_ptr(&thread) else {
            return;
        };
        let start = (*tagged).start;
        // One of 0 was just set by user space, which saw the task before we did.
        if start != 0 && start != walk::<u64>(task, offset!(task_start)) {
            let _ = TAGS.remove(&thread);
        }
    }
}

/// A thread took its leader's pid over (de_thread(), fs/exec.c).
#[inline(always)]
pub(crate) fn drop_tag_of(old_pid: u32, task: Task) {
    // SAFETY: a task.
    if old_pid != unsafe { walk::<u32>(task, offset!(task_pid)) } {
        let _ = TAGS.remove(&old_pid);
    }
}

/// Adds to a value that only this CPU changes; what stood there before. What
/// comes in between has put back what it took.
#[inline(always)]
pub(crate) fn add_here(value: *mut u64, addend: u64) -> u64 {
    // SAFETY: in a map value that was checked not null.
    unsafe {
        let before = ptr::read_volatile(value);
        ptr::write_volatile(value, before.wrapping_add(addend));
        before
    }
}

/// Sessions one of whose counters is added to at this moment: that an element
/// is made by one CPU only (BPF_NOEXIST) is all the exclusion there is.
#[map]
static LOCKS: HashMap<SessionNumber, u8> = HashMap::with_max_entries(MAX_SESSIONS, 0);

/// Adds to a counter of a session; what stood there before. Only from a
/// process's own calls: softirq could wait here for what it interrupted.
#[inline(always)]
pub(crate) fn add_shared(session: SessionNumber, value: *mut u64, addend: u64) -> u64 {
    let is_locked = lock(session);
    // SAFETY: in a map value that was checked not null.
    let before = unsafe { ptr::read_volatile(value) };
    add(value, addend);
    if is_locked {
        let _ = LOCKS.remove(&session);
    }
    before
}

global_function! {
    /// False where others held it all the time: a CPU that a hypervisor stopped;
    /// two may then see the same count.
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

/// Sockets with flags that one side may take.
#[map]
static OFFERED: LruHashMap<SocketKey, u8> = LruHashMap::with_max_entries(MAX_SOCKETS, 0);

/// Flags are about to be set that one side may take.
#[inline(always)]
pub(crate) fn offer(key: &SocketKey) {
    // LRU: fails only without memory, and then the connect's outcome is not told of.
    let _ = OFFERED.insert(key, &1, u64::from(BPF_ANY));
}

/// Takes a socket's flags, for whoever asks first; 0 for the others.
#[inline(always)]
pub(crate) fn claim(key: &SocketKey, flags: *mut u32) -> u32 {
    if OFFERED.remove(key).is_err() {
        return 0;
    }
    // SAFETY: in a map value that was checked not null; removing succeeds for one side only.
    unsafe {
        let taken = ptr::read_volatile(flags);
        ptr::write_volatile(flags, 0);
        taken
    }
}

/// Rounds of a loop that the verifier follows at one time; this many times this many in all.
pub(crate) const ROUNDS: u64 = 91;
const _: () = assert!(ROUNDS * ROUNDS >= agent_recorder_abi::limits::WALKED_LEVELS as u64);

/// Defines a function that calls its body with an area and 0, 1, 2 … up to a
/// count, until the body answers 1. The verifier follows each round of a loop,
/// so a round is a global function (see `call`), checked once, and so are
/// [`ROUNDS`] of them: more than some 8,000 in one are too many for it.
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
            // SAFETY: a map value.
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
