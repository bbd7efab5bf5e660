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
mod control;
#[cfg(target_arch = "bpf")]
mod cut;
#[cfg(target_arch = "bpf")]
mod defence;
#[cfg(target_arch = "bpf")]
mod descriptor;
#[cfg(target_arch = "bpf")]
mod emit;
#[cfg(target_arch = "bpf")]
mod exec;
#[cfg(target_arch = "bpf")]
mod file;
#[cfg(target_arch = "bpf")]
mod gate;
#[cfg(target_arch = "bpf")]
mod given;
#[cfg(target_arch = "bpf")]
mod guard;
#[cfg(target_arch = "bpf")]
mod heirs;
#[cfg(target_arch = "bpf")]
mod hooks;
#[cfg(target_arch = "bpf")]
mod judge;
#[cfg(target_arch = "bpf")]
mod kernel;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod matches;
#[cfg(target_arch = "bpf")]
mod mounts;
#[cfg(target_arch = "bpf")]
mod net;
#[cfg(target_arch = "bpf")]
mod object;
#[cfg(target_arch = "bpf")]
mod once;
#[cfg(target_arch = "bpf")]
mod outcome;
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
mod unpreempted;
#[cfg(target_arch = "bpf")]
mod uring;
#[cfg(target_arch = "bpf")]
mod victim;
#[cfg(target_arch = "bpf")]
mod whole;

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::macros::btf_tracepoint;
    use aya_ebpf::programs::BtfTracePointContext;

    use crate::once::Copy;
    use crate::{exec, net, syscall, task, unpreempted, uring, victim};

    /// Defines one copy of a program.
    macro_rules! one {
        ($(#[$doc:meta])* $nth:ident, $name:ident, $hook:literal, |$ctx:ident, $copy:ident| $body:expr) => {
            $(#[$doc])*
            #[btf_tracepoint(function = $hook)]
            fn $name($ctx: BtfTracePointContext) -> i32 {
                let $copy = Copy::$nth;
                unpreempted::begin();
                $body;
                unpreempted::end();
                0
            }
        };
    }

    /// Defines two copies of a program (see `once`): enough where it costs the
    /// verifier much, or is soon over.
    macro_rules! both {
        ($(#[$doc:meta])* $name:ident, $again:ident, $hook:literal, |$ctx:ident, $copy:ident| $body:expr) => {
            one! { $(#[$doc])* First, $name, $hook, |$ctx, $copy| $body }
            one! { $(#[$doc])* Second, $again, $hook, |$ctx, $copy| $body }
        };
    }

    /// Defines three.
    macro_rules! thrice {
        ($(#[$doc:meta])* $name:ident, $again:ident, $last:ident, $hook:literal, |$ctx:ident, $copy:ident| $body:expr) => {
            both! { $(#[$doc])* $name, $again, $hook, |$ctx, $copy| $body }
            one! { $(#[$doc])* Third, $last, $hook, |$ctx, $copy| $body }
        };
    }

    thrice! {
        /// `void task_newtask(struct task_struct *task, u64 clone_flags)`, 6.18.
        /// `void task_newtask(struct task_struct *task, unsigned long clone_flags)`, 5.5 to 6.17.
        ///
        /// At the end of copy_process(): the child has its pid and has not run,
        /// and workers of io_uring, which sched_process_fork does not show, pass here too.
        task_newtask, task_newtask_2, task_newtask_3, "task_newtask",
        |ctx, _copy| task::created(ctx.arg(0))
    }

    both! {
        /// `void sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, 5.5.
        sched_process_exec, sched_process_exec_2, "sched_process_exec",
        |ctx, copy| exec::succeeded(copy, ctx.arg(0), ctx.arg(1), ctx.arg(2))
    }

    thrice! {
        /// `void sched_process_exit(struct task_struct *p, …)`, 5.5; one more argument since 6.16.
        sched_process_exit, sched_process_exit_2, sched_process_exit_3, "sched_process_exit",
        |ctx, copy| task::exiting(copy, ctx.arg(0))
    }

    thrice! {
        /// `void sys_exit(struct pt_regs *regs, long ret)`, 5.5.
        sys_exit, sys_exit_2, sys_exit_3, "sys_exit",
        |ctx, copy| syscall::finished(copy, ctx.arg(0), ctx.arg(1))
    }

    thrice! {
        /// `void inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, 5.5.
        inet_sock_set_state, inet_sock_set_state_2, inet_sock_set_state_3, "inet_sock_set_state",
        |ctx, _copy| net::state_changed(ctx.arg(0), ctx.arg(1), ctx.arg(2))
    }

    thrice! {
        /// `void sock_send_length(struct sock *sk, int ret, int flags)`, 6.3.
        sock_send_length, sock_send_length_2, sock_send_length_3, "sock_send_length",
        |ctx, copy| net::sent(copy, ctx.arg(0), ctx.arg(1))
    }

    thrice! {
        /// `void sock_recv_length(struct sock *sk, int ret, int flags)`, 6.3; `ret` is 0 for MSG_PEEK.
        sock_recv_length, sock_recv_length_2, sock_recv_length_3, "sock_recv_length",
        |ctx, copy| net::received(copy, ctx.arg(0), ctx.arg(1))
    }

    thrice! {
        /// `void io_uring_submit_req(struct io_kiocb *req)`, 6.12; on 6.1 it is called io_uring_submit_sqe.
        io_uring_submit_req, io_uring_submit_req_2, io_uring_submit_req_3, "io_uring_submit_req",
        |ctx, copy| uring::submitted(copy, ctx.arg(0))
    }

    thrice! {
        /// `void io_uring_complete(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe)`, 6.15.
        io_uring_complete, io_uring_complete_2, io_uring_complete_3, "io_uring_complete",
        |ctx, _copy| uring::completed(ctx.arg(1), uring::result_of(ctx.arg(2)))
    }

    both! {
        /// `void io_uring_complete(void *ctx, void *req, u64 user_data, int res, …)`, 6.0 to 6.14.
        io_uring_complete_by_value, io_uring_complete_by_value_2, "io_uring_complete",
        |ctx, _copy| uring::completed(ctx.arg(1), ctx.arg::<i32>(3))
    }

    thrice! {
        /// `void inode_set_ctime_to_ts(struct inode *inode, struct timespec64 *ctime)`, 6.13.
        inode_set_ctime_to_ts, inode_set_ctime_to_ts_2, inode_set_ctime_to_ts_3, "inode_set_ctime_to_ts",
        |ctx, _copy| victim::touched(ctx.arg(0))
    }

    thrice! {
        /// `void ctime_ns_xchg(struct inode *inode, u32 old, u32 new, u32 cur)`, 6.13.
        ctime_ns_xchg, ctime_ns_xchg_2, ctime_ns_xchg_3, "ctime_ns_xchg",
        |ctx, _copy| victim::touched(ctx.arg(0))
    }

    thrice! {
        /// `void ctime_xchg_skip(struct inode *inode, struct timespec64 *ctime)`, 6.13.
        ctime_xchg_skip, ctime_xchg_skip_2, ctime_xchg_skip_3, "ctime_xchg_skip",
        |ctx, _copy| victim::touched(ctx.arg(0))
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
