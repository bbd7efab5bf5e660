//! Each event once, though the kernel skips programs.
//!
//! The kernel skips a tracing program on a CPU where it is under way already.
//! Where tracepoints can be preempted (Linux 7), all that a second task does
//! while a first one is off the CPU in the middle of a program would so go
//! unrecorded. There each program is attached twice, and the copy that comes
//! second does what the first was kept from. Only what both are kept from is
//! missing: the misses of the second copies are an upper bound.

use agent_recorder_abi::ksym::{NO_RESCHEDULE_NEEDED, PLACEHOLDER};
use aya_ebpf::helpers::generated::bpf_this_cpu_ptr;

use crate::kernel::{Task, hooks};
use crate::task;

/// Which of the two a program is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    First,
    Second,
}

/// What happens to a task; a bit each in [`agent_recorder_abi::state::Tag::handled`].
#[derive(Clone, Copy)]
pub(crate) enum Event {
    Exec = 1,
    Exit = 2,
    Call = 4,
    Submission = 8,
    Sent = 16,
    Received = 32,
}

/// Whether this copy is the one to handle an event of the task.
///
/// A second copy that is kept away leaves the first one's mark. If then the
/// first is kept from the next event of this kind, the second takes that for handled: within the bound.
#[inline(always)]
pub(crate) fn is_ours(copy: Copy, task: Task, event: Event) -> bool {
    if hooks().twice == 0 {
        return true;
    }
    let Some(handled) = task::handled(task) else {
        return true;
    };
    let bit = event as u64;
    // SAFETY: in the task's storage. Only programs on this task's own acts come here, one after the other.
    unsafe {
        if copy == Copy::First {
            *handled |= bit;
            return true;
        }
        let by_first = *handled & bit != 0;
        *handled &= !bit;
        !by_first
    }
}

/// The mark that a copy leaves on a task that it tags in the middle of an event.
#[inline(always)]
pub(crate) fn mark_of(copy: Copy, event: Event) -> u64 {
    match copy {
        Copy::First => event as u64,
        Copy::Second => 0,
    }
}

/// How deep preemption is off on this CPU; 0: the running task can be preempted.
#[inline(always)]
pub(crate) fn preempt_count() -> u32 {
    let variable: *const core::ffi::c_void;
    // SAFETY: one instruction of two words, which gives the variable's address.
    unsafe { core::arch::asm!(".quad {0}", ".quad 0", const PLACEHOLDER, out("r1") variable) };
    // SAFETY: the verifier knows the variable's type, and that it is per CPU.
    let count = unsafe { core::ptr::read_volatile(bpf_this_cpu_ptr(variable).cast::<u32>()) };
    count & !NO_RESCHEDULE_NEEDED
}
