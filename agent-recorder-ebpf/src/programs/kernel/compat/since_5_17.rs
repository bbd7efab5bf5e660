//! What the programs rest on, as kernels since 5.17 give it: tags in task
//! storage, the running task typed, bpf_loop, atomics with results.
//!
//! `before_5_17` has the same names for older ones.

use core::ptr;

use agent_recorder_abi::state::{SessionNumber, SocketKey, Tag};
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_storage_get};
use aya_ebpf::macros::btf_map;

/// A `struct task_struct` whose type the verifier knows.
pub(crate) type Task = *const u8;

/// The running task.
#[inline(always)]
pub(crate) fn current() -> Task {
    // SAFETY: the helper takes nothing and always answers.
    unsafe { bpf_get_current_task_btf() }.cast_const().cast()
}

/// Loads a field from an object whose type the verifier knows.
///
/// # Safety
///
/// `object` is such a pointer; the verifier refuses the program otherwise.
#[inline(always)]
pub(crate) unsafe fn walk<T: Copy>(object: *const u8, offset: usize) -> T {
    // SAFETY: checked by the verifier, which also makes a fault read as zero.
    unsafe { ptr::read_volatile(object.add(offset).cast::<T>()) }
}

/// A definition of task storage, which aya 0.14 has none of: the loader reads
/// type, key and value from this structure's BTF (libbpf's `.maps` convention).
#[repr(C)]
struct TaskStorage {
    r#type: *const [i32; bpf_map_type::BPF_MAP_TYPE_TASK_STORAGE as usize],
    key: *const i32,
    value: *const Tag,
    max_entries: *const [i32; 0],
    map_flags: *const [i32; BPF_F_NO_PREALLOC as usize],
}

// SAFETY: the pointers carry types for the loader and are never followed.
unsafe impl Sync for TaskStorage {}

impl TaskStorage {
    /// The definition.
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    /// What helpers take for this map.
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        ptr::from_ref(self).cast_mut().cast()
    }
}

/// The tags: on the task itself, freed with it.
#[btf_map]
static TAGS: TaskStorage = TaskStorage::new();

/// The task's own tag, to change.
#[inline(always)]
pub(crate) fn tag_on(task: Task) -> Option<*mut Tag> {
    // SAFETY: map and task are of the types that the helper takes; no value is given, none is made.
    let stored =
        unsafe { bpf_task_storage_get(TAGS.as_ptr(), task.cast_mut().cast(), ptr::null_mut(), 0) };
    (!stored.is_null()).then_some(stored.cast())
}

/// Puts a tag on a task. False when the kernel had no memory for it.
#[inline(always)]
pub(crate) fn put_tag(task: Task, mut tag: Tag) -> bool {
    // SAFETY: as in `tag_on`; the initial value is on the stack.
    let stored = unsafe {
        bpf_task_storage_get(
            TAGS.as_ptr(),
            task.cast_mut().cast(),
            (&raw mut tag).cast(),
            u64::from(BPF_LOCAL_STORAGE_GET_F_CREATE),
        )
    }
    .cast::<Tag>();
    if stored.is_null() {
        return false;
    }
    // It may have been there before: then the initial value was not used.
    // SAFETY: not null.
    unsafe { *stored = tag };
    true
}

/// A task ends: its storage goes with it.
#[inline(always)]
pub(crate) fn drop_tag(_task: Task, _is_last: bool) {}

/// A task was made outside sessions: it has no storage.
#[inline(always)]
pub(crate) fn drop_stale_tag(_task: Task) {}

/// A thread took its leader's pid over, and brought its storage along.
#[inline(always)]
pub(crate) fn drop_tag_of(_old_pid: u32, _task: Task) {}

/// Adds to a value that only this CPU changes; what stood there before.
/// AcqRel: LLVM 22 answers Relaxed with the addend (llvm#210280).
#[inline(always)]
pub(crate) fn add_here(value: *mut u64, addend: u64) -> u64 {
    // SAFETY: `value` is in a map value that was checked not null.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::AcqRel }>(
            value, addend,
        )
    }
}

/// Adds to a counter of a session; what stood there before.
#[inline(always)]
pub(crate) fn add_shared(_session: SessionNumber, value: *mut u64, addend: u64) -> u64 {
    add_here(value, addend)
}

/// Flags are about to be set that one side may take.
#[inline(always)]
pub(crate) fn offer(_key: &SocketKey) {}

/// Takes a socket's flags, for whoever asks first; 0 for the others.
#[inline(always)]
pub(crate) fn claim(_key: &SocketKey, flags: *mut u32) -> u32 {
    // SAFETY: in a map value that was checked not null. The two sides that ask are ordered by the exchange.
    unsafe {
        core::intrinsics::atomic_xchg::<u32, { core::intrinsics::AtomicOrdering::AcqRel }>(flags, 0)
    }
}

/// Defines a function that calls its body with an area and 0, 1, 2 … up to a
/// count, until the body answers 1. bpf_loop and not a loop: the verifier would
/// follow each round of it. The map and the second name are for `before_5_17`.
macro_rules! rounds {
    ([$area:ty, $areas:path] $(#[$doc:meta])* fn $name:ident[$one:ident, $many:ident]($scratch:ident, $index:ident) $body:block) => {
        $(#[$doc])*
        #[inline(always)]
        fn $name(mut scratch: *mut $area, count: u32) {
            unsafe extern "C" fn $one($index: u64, scratch: *mut *mut $area) -> i64 {
                // SAFETY: bpf_loop hands on the pointer it was given, and nobody else uses the area.
                let $scratch = unsafe { *scratch };
                $body
            }
            // SAFETY: the callback has the type that bpf_loop calls, and the context outlives the call.
            unsafe {
                aya_ebpf::helpers::generated::bpf_loop(
                    count,
                    $one as *mut core::ffi::c_void,
                    (&raw mut scratch).cast(),
                    0,
                );
            }
        }
    };
}
pub(crate) use rounds;
