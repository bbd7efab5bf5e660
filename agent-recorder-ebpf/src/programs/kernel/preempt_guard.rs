//! Programs with preemption off where the kernel would otherwise take the task
//! off the CPU in the middle of one (Linux 7).
//!
//! A task that waits in the middle of a program keeps that program, on its
//! CPU, from everybody else (see `replica`). With preemption off from its first
//! instructions to its last, only those few can be where it waits, and for
//! what is skipped then there are the further replicas.
//!
//! Not merely off and on again: turning it on is where the kernel catches up on
//! a reschedule, still inside the program. With interrupts off at that moment it
//! does not, and the task goes on to the program's end.
//!
//! User space puts the kernel's functions in where they are needed
//! (`preempt::link`), elsewhere nothing.

#[cfg(not(feature = "old-kernel"))]
use core::arch::asm;
#[cfg(not(feature = "old-kernel"))]
use core::mem::MaybeUninit;

#[cfg(not(feature = "old-kernel"))]
use agent_recorder_abi::kernel_symbols::{IRQ_RESTORE, IRQ_SAVE, PREEMPT_DISABLE, PREEMPT_ENABLE};
use agent_recorder_abi::kernel_symbols::{NO_RESCHEDULE_NEEDED, PLACEHOLDER};
use aya_ebpf::helpers::generated::bpf_this_cpu_ptr;

/// From here on this task stays on its CPU. Nests.
#[cfg(not(feature = "old-kernel"))]
#[inline(always)]
pub(crate) fn begin() {
    // SAFETY: one instruction, which calls a function without arguments or does nothing.
    unsafe {
        asm!(
            ".quad {0}", const PREEMPT_DISABLE.placeholder(),
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
}

/// It need not any more. Once for each [`begin`].
#[cfg(not(feature = "old-kernel"))]
#[inline(always)]
pub(crate) fn end() {
    let mut flags = MaybeUninit::<u64>::uninit();
    let flags = flags.as_mut_ptr();
    // SAFETY: one instruction each, which calls a function or does nothing. The
    // first fills what the last is given, and the verifier sees to it that
    // nothing else touches it.
    unsafe {
        asm!(
            ".quad {0}", const IRQ_SAVE.placeholder(),
            out("r0") _, inlateout("r1") flags => _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
        asm!(
            ".quad {0}", const PREEMPT_ENABLE.placeholder(),
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
        asm!(
            ".quad {0}", const IRQ_RESTORE.placeholder(),
            out("r0") _, inlateout("r1") flags => _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
}

/// Kernels before 5.17 have no such functions, and preempt no tracepoint.
#[cfg(feature = "old-kernel")]
#[inline(always)]
pub(crate) fn begin() {}

/// See [`begin`].
#[cfg(feature = "old-kernel")]
#[inline(always)]
pub(crate) fn end() {}

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
