//! The operation that a task is in the middle of, for hooks that receive only an inode: from the
//! registers of the call, or from the request of io_uring.

use agent_recorder_abi::event::Op;
use agent_recorder_abi::limits::SYSCALL_NUMBERS;
use agent_recorder_abi::state::Tag;
use agent_recorder_abi::syscall::MARK_REMOVEDIR;
use aya_ebpf::helpers::generated::bpf_task_pt_regs;

use crate::context::maps;
use crate::context::operation::OperationKey;
use crate::dispatch::io_uring_fields;
use crate::guard::pre_op;
use crate::kernel::compat::{Task, current};
use crate::kernel::registers::{self, Registers, is_compat};
use crate::kernel::types::Inode;
use crate::kernel::uapi::AT_REMOVEDIR;
use crate::session::{actor, tag};

/// An inode's times change.
#[inline(always)]
pub(crate) fn touched(inode: Inode) {
    let this = current();
    let Some(tag) = tag::tag_of(this) else {
        return;
    };
    let (op, key) = operation_of(this, tag);
    pre_op::touched(tag, op, key, inode);
}

/// The operation that a task is in the middle of, and its key until the exit.
#[inline(always)]
fn operation_of(task: Task, tag: Tag) -> (u32, OperationKey) {
    let request = actor::request_of(task, tag);
    if !request.is_none()
        && let Some(kept) = maps::URING.get_ptr(&request.address())
    {
        // SAFETY: `kept` is a map value, checked for null above.
        let (opcode, flags) = unsafe { ((*kept).opcode, (*kept).flags) };
        let op = u32::from(io_uring_fields::op_of(opcode, flags));
        return (op, OperationKey::of_request(request));
    }
    (of_call(task), OperationKey::of_thread())
}

/// The file operation ([`Op`]) of the call that a task is in, 0 for any other call.
#[inline(always)]
fn of_call(task: Task) -> u32 {
    // SAFETY: `task` is typed, and the helper returns its registers.
    let (number, arguments) = unsafe {
        let regs = bpf_task_pt_regs(task.cast_mut().cast()) as *const Registers;
        let mut arguments = [0; 6];
        registers::arguments(regs, is_compat(task), arguments.as_mut_ptr());
        (registers::number(regs), arguments)
    };
    if number >= SYSCALL_NUMBERS {
        return 0;
    }
    let row = if is_compat(task) {
        number + SYSCALL_NUMBERS
    } else {
        number
    };
    let Some(spec) = maps::SYSCALLS.get_ptr(row) else {
        return 0;
    };
    // SAFETY: `spec` is a map value, checked for null above.
    let (op, marks) = unsafe { ((*spec).op, (*spec).marks) };
    // unlinkat(2): the flags are its third argument.
    if marks & MARK_REMOVEDIR != 0 && arguments[2] & AT_REMOVEDIR != 0 {
        return Op::Rmdir as u32;
    }
    u32::from(op)
}
