//! The kernel programs: entry points only, here those on tracepoints. Each unpacks its arguments and
//! calls the one function that knows the operation.
//!
//! Each doc line holds the prototype that the hook has in the kernel and the
//! oldest kernel that has it so. A program's result is not used by tp_btf.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    feature(core_intrinsics, asm_experimental_arch),
    expect(
        internal_features,
        reason = "core::sync::atomic has no read-modify-write on this target"
    )
)]

#[cfg(not(target_arch = "bpf"))]
fn main() {
    eprintln!("these programs run in the kernel: build them with `cargo xtask build`");
    std::process::exit(1);
}

#[cfg(target_arch = "bpf")]
mod arch;
#[cfg(target_arch = "bpf")]
mod call;
#[cfg(target_arch = "bpf")]
mod descriptor;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod exec;
#[cfg(target_arch = "bpf")]
mod file;
#[cfg(target_arch = "bpf")]
mod guard;
#[cfg(target_arch = "bpf")]
mod hooks;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod net;
#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod path;
#[cfg(target_arch = "bpf")]
#[cfg_attr(feature = "old-kernel", path = "primitives/old.rs")]
#[cfg_attr(not(feature = "old-kernel"), path = "primitives/present.rs")]
mod primitives;
#[cfg(target_arch = "bpf")]
mod send;
#[cfg(target_arch = "bpf")]
mod socket;
#[cfg(target_arch = "bpf")]
mod syscall;
#[cfg(target_arch = "bpf")]
mod task;
#[cfg(target_arch = "bpf")]
mod uring;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::macros::btf_tracepoint;
    use aya_ebpf::programs::BtfTracePointContext;

    use crate::{exec, net, syscall, task, uring};

    /// `void task_newtask(struct task_struct *task, u64 clone_flags)`, 5.5 (`unsigned long` before 6.18).
    ///
    /// At the end of copy_process(): the child has its pid and has not run,
    /// and workers of io_uring, which sched_process_fork does not show, pass here too.
    #[btf_tracepoint(function = "task_newtask")]
    fn task_newtask(ctx: BtfTracePointContext) -> i32 {
        task::created(ctx.arg(0));
        0
    }

    /// `void sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, 5.5.
    #[btf_tracepoint(function = "sched_process_exec")]
    fn sched_process_exec(ctx: BtfTracePointContext) -> i32 {
        exec::succeeded(ctx.arg(0), ctx.arg(1), ctx.arg(2));
        0
    }

    /// `void sched_process_exit(struct task_struct *p)`, 5.5; one more argument since 6.16.
    #[btf_tracepoint(function = "sched_process_exit")]
    fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
        task::exiting(ctx.arg(0));
        0
    }

    /// `void sys_exit(struct pt_regs *regs, long ret)`, 5.5.
    #[btf_tracepoint(function = "sys_exit")]
    fn sys_exit(ctx: BtfTracePointContext) -> i32 {
        syscall::finished(ctx.arg(0), ctx.arg(1));
        0
    }

    /// `void inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, 5.5.
    #[btf_tracepoint(function = "inet_sock_set_state")]
    fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
        net::state_changed(ctx.arg(0), ctx.arg(1), ctx.arg(2));
        0
    }

    /// `void sock_send_length(struct sock *sk, int ret, int flags)`, 6.3.
    #[btf_tracepoint(function = "sock_send_length")]
    fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
        net::sent(ctx.arg(0), ctx.arg(1));
        0
    }

    /// `void sock_recv_length(struct sock *sk, int ret, int flags)`, 6.3; `ret` is 0 for MSG_PEEK.
    #[btf_tracepoint(function = "sock_recv_length")]
    fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
        net::received(ctx.arg(0), ctx.arg(1));
        0
    }

    /// `void io_uring_submit_req(struct io_kiocb *req)`, 6.12; on 6.1 it is called io_uring_submit_sqe.
    #[btf_tracepoint(function = "io_uring_submit_req")]
    fn io_uring_submit_req(ctx: BtfTracePointContext) -> i32 {
        uring::submitted(ctx.arg(0));
        0
    }

    /// `void io_uring_complete(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe)`, 6.15.
    #[btf_tracepoint(function = "io_uring_complete")]
    fn io_uring_complete(ctx: BtfTracePointContext) -> i32 {
        uring::completed(ctx.arg(1), uring::result_of(ctx.arg(2)));
        0
    }

    /// `void io_uring_complete(void *ctx, void *req, u64 user_data, int res, …)`, 6.0 to 6.14.
    #[btf_tracepoint(function = "io_uring_complete")]
    fn io_uring_complete_by_value(ctx: BtfTracePointContext) -> i32 {
        uring::completed(ctx.arg(1), ctx.arg::<i32>(3));
        0
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: unreachable: the verifier refuses any program in which a panic is left.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Helpers such as bpf_probe_read_kernel are for GPL-compatible programs only.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
