//! Programs of no session: user space attaches them for a moment, to learn
//! whether the kernel calls programs of their kind.

use aya_ebpf::macros::{btf_tracepoint, fentry, lsm};
use aya_ebpf::programs::{BtfTracePointContext, FEntryContext, LsmContext};

use crate::context::maps;
use crate::kernel::preempt_guard;

/// `int socket_create(int family, int type, int protocol, int kern)`, 5.7.
///
/// Of no session: tells user space that programs of this kind are called at
/// all. On a kernel without `bpf` in its lsm list they attach and never are.
#[lsm(hook = "socket_create")]
fn probe_lsm(_ctx: LsmContext) -> i32 {
    answer_probe();
    0
}

/// `void sys_exit(struct pt_regs *regs, long ret)`, 5.5.
///
/// Of no session: tells user space whether programs on tracepoints can be preempted.
#[btf_tracepoint(function = "sys_exit")]
fn probe_preemption(_ctx: BtfTracePointContext) -> i32 {
    if answer_probe()
        && let Some(count) = maps::PROBE.get_ptr_mut(1)
    {
        // SAFETY: a map value, checked not null.
        unsafe { core::ptr::write_volatile(count, preempt_guard::preempt_count()) };
    }
    0
}

/// The same for programs on functions.
#[fentry(function = "security_socket_create")]
fn probe_fentry(_ctx: FEntryContext) -> i32 {
    answer_probe();
    0
}

/// Whether it is the one who asks.
#[inline(always)]
fn answer_probe() -> bool {
    let Some(asking) = maps::PROBE.get_ptr_mut(0) else {
        return false;
    };
    let group = (aya_ebpf::helpers::bpf_get_current_pid_tgid() >> 32) as u32;
    // SAFETY: a map value, checked not null. Whoever asks waits for it.
    unsafe {
        let answered = core::ptr::read_volatile(asking) == group;
        if answered {
            core::ptr::write_volatile(asking, 0);
        }
        answered
    }
}
