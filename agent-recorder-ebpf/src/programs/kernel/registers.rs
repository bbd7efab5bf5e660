//! Registers of a system call: its number, its arguments, and its ABI.

use agent_recorder_abi::kernel_fields::ABSENT;

use crate::kernel::compat::{Task, walk};
use crate::kernel::read::offset;

/// Set in `thread_info.status` during a 32-bit call (`TS_COMPAT`,
/// arch/x86/include/asm/thread_info.h).
const COMPAT: u32 = 2;

/// `struct pt_regs` as 64-bit x86 lays it out (arch/x86/include/asm/ptrace.h): part of the ABI of ptrace(2).
#[repr(C)]
pub(crate) struct Registers {
    r15: u64,
    r14: u64,
    r13: u64,
    r12: u64,
    bp: u64,
    bx: u64,
    r11: u64,
    r10: u64,
    r9: u64,
    r8: u64,
    ax: u64,
    cx: u64,
    dx: u64,
    si: u64,
    di: u64,
    orig_ax: u64,
}

/// Number of the call, which is still in the registers at the exit.
///
/// # Safety
///
/// `regs` is the argument of sys_exit, whose type the verifier knows.
#[inline(always)]
pub(crate) unsafe fn number(regs: *const Registers) -> u32 {
    // SAFETY: `regs` is the argument of sys_exit; the verifier checks the load.
    unsafe { (*regs).orig_ax as u32 }
}

/// The six arguments of the caller, which the kernel does not overwrite.
///
/// # Safety
///
/// `regs` is the argument of sys_exit, and `out` has room for six elements.
#[inline(always)]
pub(crate) unsafe fn arguments(regs: *const Registers, compat: bool, out: *mut u64) {
    // SAFETY: the caller promises `regs` and `out`; the verifier checks each load and store.
    unsafe {
        if compat {
            *out = u64::from((*regs).bx as u32);
            *out.add(1) = u64::from((*regs).cx as u32);
            *out.add(2) = u64::from((*regs).dx as u32);
            *out.add(3) = u64::from((*regs).si as u32);
            *out.add(4) = u64::from((*regs).di as u32);
            *out.add(5) = u64::from((*regs).bp as u32);
        } else {
            *out = (*regs).di;
            *out.add(1) = (*regs).si;
            *out.add(2) = (*regs).dx;
            *out.add(3) = (*regs).r10;
            *out.add(4) = (*regs).r8;
            *out.add(5) = (*regs).r9;
        }
    }
}

/// Whether the running call has a 32-bit ABI.
#[inline(always)]
pub(crate) fn is_compat(task: Task) -> bool {
    let status = offset!(task_status);
    // SAFETY: `task` is typed; the field exists because its offset is present.
    status != ABSENT as usize && unsafe { walk::<u32>(task, status) } & COMPAT != 0
}
