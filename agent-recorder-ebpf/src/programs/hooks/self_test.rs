//! Programs outside sessions, which user space attaches for a moment: they show whether the kernel
//! calls programs of their kind.

use aya_ebpf::macros::{btf_tracepoint, fentry, lsm};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, LsmContext};

use crate::context::maps;
use crate::kernel::preempt_guard;

/// `int socket_create(int family, int type, int protocol, int kern)`, 5.7.
///
/// Shows user space that LSM programs are called at all. On a kernel without `bpf` in its list of
/// LSMs they attach and never run.
#[lsm(hook = "socket_create")]
fn probe_lsm(_ctx: LsmContext) -> i32 {
    answer_probe();
    0
}

/// `void sys_exit(struct pt_regs *regs, long ret)`, 5.5.
///
/// Shows user space whether programs on tracepoints can be preempted.
#[btf_tracepoint(function = "sys_exit")]
fn probe_preemption(_ctx: BtfTracePointContext) -> i32 {
    if answer_probe()
        && let Some(count) = maps::PROBE.get_ptr_mut(1)
    {
        // SAFETY: `count` is a map value, checked for null above.
        unsafe { core::ptr::write_volatile(count, preempt_guard::preempt_count()) };
    }
    0
}

/// Shows user space that programs on functions are called.
#[fentry(function = "security_socket_create")]
fn probe_fentry(_ctx: FEntryContext) -> i32 {
    answer_probe();
    0
}

/// Answers the process that asks; false for any other process.
#[inline(always)]
fn answer_probe() -> bool {
    let Some(asking) = maps::PROBE.get_ptr_mut(0) else {
        return false;
    };
    let group = (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: `asking` is a map value, checked for null above; the asking process waits.
    unsafe {
        let answered = core::ptr::read_volatile(asking) == group;
        if answered {
            core::ptr::write_volatile(asking, 0);
        }
        answered
    }
}
