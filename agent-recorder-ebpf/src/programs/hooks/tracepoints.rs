//! Entry points on tracepoints. Each unpacks its arguments and calls the function of the operation.
//!
//! The doc line has the kernel's prototype and the oldest kernel with it. The kernel ignores the
//! result of a program on a tracepoint.

use aya_ebpf::macros::{btf_tracepoint, fexit};
use aya_ebpf::programs::{BtfTracePointContext, FExitContext};

use crate::dispatch::{in_flight, io_uring, io_uring_fields, syscall_exit, task_lifecycle};
use crate::kernel::preempt_guard;
use crate::kernel::replica::Replica;
use crate::kernel::types::{Inode, Kiocb, Sock, Socket};
use crate::operations::{exec, socket};

/// Flag of recv(2).
const MSG_PEEK: i32 = 2;

/// Defines one replica of a program.
macro_rules! one {
    ($(#[$doc:meta])* $nth:ident, $name:ident, $hook:literal, |$ctx:ident, $replica:ident| $body:expr) => {
        $(#[$doc])*
        #[btf_tracepoint(function = $hook)]
        fn $name($ctx: BtfTracePointContext) -> i32 {
            let $replica = Replica::$nth;
            preempt_guard::begin();
            $body;
            preempt_guard::end();
            0
        }
    };
}

/// Defines two replicas of a program (see `replica`). They suffice for a program that costs the
/// verifier much, or ends soon.
macro_rules! both {
    ($(#[$doc:meta])* $name:ident, $again:ident, $hook:literal, |$ctx:ident, $replica:ident| $body:expr) => {
        one! { $(#[$doc])* First, $name, $hook, |$ctx, $replica| $body }
        one! { $(#[$doc])* Second, $again, $hook, |$ctx, $replica| $body }
    };
}

/// Defines three replicas of a program.
macro_rules! thrice {
    ($(#[$doc:meta])* $name:ident, $again:ident, $last:ident, $hook:literal, |$ctx:ident, $replica:ident| $body:expr) => {
        both! { $(#[$doc])* $name, $again, $hook, |$ctx, $replica| $body }
        one! { $(#[$doc])* Third, $last, $hook, |$ctx, $replica| $body }
    };
}

thrice! {
    /// `void task_newtask(struct task_struct *task, u64 clone_flags)`, 6.18.
    /// `void task_newtask(struct task_struct *task, unsigned long clone_flags)`, 5.5 to 6.17.
    ///
    /// At the end of copy_process(): the child has its pid and has not run. Workers of io_uring,
    /// which sched_process_fork does not show, pass here, too.
    task_newtask, task_newtask_2, task_newtask_3, "task_newtask",
    |ctx, _replica| task_lifecycle::created(ctx.arg(0))
}

both! {
    /// `void sched_process_exec(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`, 5.5.
    sched_process_exec, sched_process_exec_2, "sched_process_exec",
    |ctx, replica| exec::succeeded(replica, ctx.arg(0), ctx.arg(1), ctx.arg(2))
}

thrice! {
    /// `void sched_process_exit(struct task_struct *p, …)`, 5.5; one more argument since 6.16.
    sched_process_exit, sched_process_exit_2, sched_process_exit_3, "sched_process_exit",
    |ctx, replica| task_lifecycle::exiting(replica, ctx.arg(0))
}

thrice! {
    /// `void sys_exit(struct pt_regs *regs, long ret)`, 5.5.
    sys_exit, sys_exit_2, sys_exit_3, "sys_exit",
    |ctx, replica| syscall_exit::finished(replica, ctx.arg(0), ctx.arg(1))
}

thrice! {
    /// `void inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`, 5.5.
    inet_sock_set_state, inet_sock_set_state_2, inet_sock_set_state_3, "inet_sock_set_state",
    |ctx, _replica| socket::state_changed(Sock::at(ctx.arg(0)), ctx.arg(1), ctx.arg(2))
}

thrice! {
    /// `void sock_send_length(struct sock *sk, int ret, int flags)`, 6.3.
    sock_send_length, sock_send_length_2, sock_send_length_3, "sock_send_length",
    |ctx, replica| socket::sent(replica, Sock::at(ctx.arg(0)), ctx.arg(1))
}

thrice! {
    /// `void sock_recv_length(struct sock *sk, int ret, int flags)`, 6.3; `ret` is 0 for MSG_PEEK.
    sock_recv_length, sock_recv_length_2, sock_recv_length_3, "sock_recv_length",
    |ctx, replica| socket::received(replica, Sock::at(ctx.arg(0)), ctx.arg(1))
}

thrice! {
    /// `void io_uring_submit_req(struct io_kiocb *req)`, 6.12; on 6.1 it is called io_uring_submit_sqe.
    io_uring_submit_req, io_uring_submit_req_2, io_uring_submit_req_3, "io_uring_submit_req",
    |ctx, replica| io_uring::submitted(replica, Kiocb::at(ctx.arg(0)))
}

thrice! {
    /// `void io_uring_complete(struct io_ring_ctx *ctx, void *req, struct io_uring_cqe *cqe)`, 6.15.
    io_uring_complete, io_uring_complete_2, io_uring_complete_3, "io_uring_complete",
    |ctx, _replica| io_uring::completed(Kiocb::at(ctx.arg(1)), io_uring_fields::result_of(ctx.arg(2)))
}

both! {
    /// `void io_uring_complete(void *ctx, void *req, u64 user_data, int res, …)`, 6.0 to 6.14.
    io_uring_complete_by_value, io_uring_complete_by_value_2, "io_uring_complete",
    |ctx, _replica| io_uring::completed(Kiocb::at(ctx.arg(1)), ctx.arg::<i32>(3))
}

thrice! {
    /// `void inode_set_ctime_to_ts(struct inode *inode, struct timespec64 *ctime)`, 6.13.
    inode_set_ctime_to_ts, inode_set_ctime_to_ts_2, inode_set_ctime_to_ts_3, "inode_set_ctime_to_ts",
    |ctx, _replica| in_flight::touched(Inode::at(ctx.arg(0)))
}

thrice! {
    /// `void ctime_ns_xchg(struct inode *inode, u32 old, u32 new, u32 cur)`, 6.13.
    ctime_ns_xchg, ctime_ns_xchg_2, ctime_ns_xchg_3, "ctime_ns_xchg",
    |ctx, _replica| in_flight::touched(Inode::at(ctx.arg(0)))
}

thrice! {
    /// `void ctime_xchg_skip(struct inode *inode, struct timespec64 *ctime)`, 6.13.
    ctime_xchg_skip, ctime_xchg_skip_2, ctime_xchg_skip_3, "ctime_xchg_skip",
    |ctx, _replica| in_flight::touched(Inode::at(ctx.arg(0)))
}

/// `int sock_recvmsg(struct socket *sock, struct msghdr *msg, int flags)`, 5.5.
///
/// In place of the tracepoint sock_recv_length (6.3). Sent bytes are counted by `datagram`, because
/// sock_sendmsg() is inlined where it matters.
#[fexit(function = "sock_recvmsg")]
fn sock_recvmsg(ctx: FExitContext) -> i32 {
    if ctx.arg::<i32>(2) & MSG_PEEK == 0 {
        socket::received(Replica::First, Socket::at(ctx.arg(0)).sock(), ctx.arg(3));
    }
    0
}
