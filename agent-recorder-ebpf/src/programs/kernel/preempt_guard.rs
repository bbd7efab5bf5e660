//! Preemption off within a program, where the kernel could otherwise preempt its task (Linux 7).
//!
//! A task that is preempted inside a program blocks that program on its CPU for all other tasks
//! (see `replica`). With preemption off from the first instruction to the last, a task can only be
//! preempted in the few instructions around them; later replicas handle the events that are skipped
//! then.
//!
//! `end` turns preemption on with interrupts off. The kernel catches up on a reschedule where
//! preemption turns on, still inside the program; with interrupts off it does so after the
//! program's end.
//!
//! User space puts calls of the kernel's functions into the programs where they are needed
//! (`preempt::link`); elsewhere the placeholders do nothing.

#[cfg(not(feature = "old-kernel"))]
use core::arch::asm;
#[cfg(not(feature = "old-kernel"))]
use core::mem::MaybeUninit;

#[cfg(not(feature = "old-kernel"))]
use agent_recorder_abi::kernel_symbols::{IRQ_RESTORE, IRQ_SAVE, PREEMPT_DISABLE, PREEMPT_ENABLE};
use agent_recorder_abi::kernel_symbols::{NO_RESCHEDULE_NEEDED, PLACEHOLDER};
use aya_ebpf::helpers::generated::bpf_this_cpu_ptr;

/// Turns preemption off. Nests.
#[cfg(not(feature = "old-kernel"))]
#[inline(always)]
pub(crate) fn begin() {
    // SAFETY: one instruction, a call without arguments or a jump to the next instruction.
    unsafe {
        asm!(
            ".quad {0}", const PREEMPT_DISABLE.placeholder(),
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
}

/// Turns preemption on, once for each [`begin`].
#[cfg(not(feature = "old-kernel"))]
#[inline(always)]
pub(crate) fn end() {
    let mut flags = MaybeUninit::<u64>::uninit();
    let flags = flags.as_mut_ptr();
    // SAFETY: one instruction each, a call or a jump to the next instruction. The first fills
    // `flags` for the last, and the verifier refuses any other access.
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

/// Kernels before 5.17 lack these functions, and preempt no tracepoint program.
#[cfg(feature = "old-kernel")]
#[inline(always)]
pub(crate) fn begin() {}

/// See [`begin`].
#[cfg(feature = "old-kernel")]
#[inline(always)]
pub(crate) fn end() {}

/// Preemption count of this CPU; 0 where the running task can be preempted.
#[inline(always)]
pub(crate) fn preempt_count() -> u32 {
    let variable: *const core::ffi::c_void;
    // SAFETY: one instruction of two words, which loads the variable's address.
    unsafe { core::arch::asm!(".quad {0}", ".quad 0", const PLACEHOLDER, out("r1") variable) };
    // SAFETY: the verifier knows the variable's type, and that it is per CPU.
    let count = unsafe { core::ptr::read_volatile(bpf_this_cpu_ptr(variable).cast::<u32>()) };
    count & !NO_RESCHEDULE_NEEDED
}
