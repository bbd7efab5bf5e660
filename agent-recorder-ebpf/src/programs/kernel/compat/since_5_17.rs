//! The variant for kernels since 5.17: tags in task storage, the running task typed, bpf_loop,
//! atomic additions with results.
//!
//! `before_5_17` has the same names for older kernels.

use core::ptr;

use agent_recorder_abi::state::{SessionNumber, SocketKey, Tag};
use aya_ebpf::bindings::{BPF_F_NO_PREALLOC, BPF_LOCAL_STORAGE_GET_F_CREATE, bpf_map_type};
use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_storage_get};
use aya_ebpf::macros::btf_map;

/// A `struct task_struct` whose type the verifier knows.
pub(crate) type Task = *const u8;

#[inline(always)]
pub(crate) fn current() -> Task {
    // SAFETY: the helper takes no argument and always returns a task.
    unsafe { bpf_get_current_task_btf() }.cast_const().cast()
}

/// Loads a field from an object whose type the verifier knows.
///
/// # Safety
///
/// `object` is a pointer of a type that the verifier knows; otherwise it refuses the program.
#[inline(always)]
pub(crate) unsafe fn walk<T: Copy>(object: *const u8, offset: usize) -> T {
    // SAFETY: the verifier checks the load, and a fault reads as zero.
    unsafe { ptr::read_volatile(object.add(offset).cast::<T>()) }
}

/// Definition of a task storage, which aya 0.14 lacks: the loader reads type, key and value from
/// this structure's BTF (libbpf's `.maps` convention).
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
    const fn new() -> Self {
        Self {
            r#type: ptr::null(),
            key: ptr::null(),
            value: ptr::null(),
            max_entries: ptr::null(),
            map_flags: ptr::null(),
        }
    }

    /// The map as an argument of helpers.
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        ptr::from_ref(self).cast_mut().cast()
    }
}

/// The tags; the kernel frees a task's with the task.
#[btf_map]
static TAGS: TaskStorage = TaskStorage::new();

/// The task's tag, mutable.
#[inline(always)]
pub(crate) fn tag_on(task: Task) -> Option<*mut Tag> {
    // SAFETY: map and task have the types that the helper takes; without a value it creates no
    // storage.
    let stored =
        unsafe { bpf_task_storage_get(TAGS.as_ptr(), task.cast_mut().cast(), ptr::null_mut(), 0) };
    (!stored.is_null()).then_some(stored.cast())
}

/// Puts a tag on a task. False where the kernel has no memory for it.
#[inline(always)]
pub(crate) fn put_tag(task: Task, mut tag: Tag) -> bool {
    // SAFETY: map and task have the types that the helper takes; the initial value is on the stack.
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
    // An existing storage ignores the initial value.
    // SAFETY: `stored` is a Tag of the storage, checked for null above.
    unsafe { *stored = tag };
    true
}

/// The kernel frees the storage of an exiting task.
#[inline(always)]
pub(crate) fn drop_tag(_task: Task, _is_last: bool) {}

/// A new task has no storage.
#[inline(always)]
pub(crate) fn drop_stale_tag(_task: Task) {}

/// The storage stays with a thread that takes its leader's pid over.
#[inline(always)]
pub(crate) fn drop_tag_of(_old_pid: u32, _task: Task) {}

/// Adds to a value that only this CPU changes; returns the value before.
/// AcqRel: LLVM 22 returns the addend for Relaxed (llvm#210280).
#[inline(always)]
pub(crate) fn add_here(value: *mut u64, addend: u64) -> u64 {
    // SAFETY: `value` is in a map value, checked for null by the caller.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::AcqRel }>(
            value, addend,
        )
    }
}

/// Adds to a counter of a session; returns the value before.
#[inline(always)]
pub(crate) fn add_shared(_session: SessionNumber, value: *mut u64, addend: u64) -> u64 {
    add_here(value, addend)
}

/// Announces flags that one of two sides may take.
#[inline(always)]
pub(crate) fn offer(_key: &SocketKey) {}

/// Takes a socket's flags for the first caller; 0 for the others.
#[inline(always)]
pub(crate) fn claim(_key: &SocketKey, flags: *mut u32) -> u32 {
    // SAFETY: `flags` is in a map value, checked for null by the caller; the exchange orders the
    // sides.
    unsafe {
        core::intrinsics::atomic_xchg::<u32, { core::intrinsics::AtomicOrdering::AcqRel }>(flags, 0)
    }
}

/// Defines a function that calls its body with an area and 0, 1, 2 … up to a count, until the body
/// returns 1. bpf_loop, because the verifier would follow each round of a loop. `before_5_17` uses
/// the map and the second name.
macro_rules! rounds {
    ([$area:ty, $areas:path] $(#[$doc:meta])* fn $name:ident[$one:ident, $many:ident]($scratch:ident, $index:ident) $body:block) => {
        $(#[$doc])*
        #[inline(always)]
        fn $name(mut scratch: *mut $area, count: u32) {
            unsafe extern "C" fn $one($index: u64, scratch: *mut *mut $area) -> i64 {
                // SAFETY: bpf_loop passes the context, a pointer to this area, which no other hook
                // uses.
                let $scratch = unsafe { *scratch };
                $body
            }
            // SAFETY: the callback has the type that bpf_loop calls, and the context outlives the
            // call.
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
