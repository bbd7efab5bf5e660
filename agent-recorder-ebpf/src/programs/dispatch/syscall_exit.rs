//! System calls at their exit: one table look-up, one tag look-up, then the function of the
//! operation.
//!
//! The exit suffices: number and arguments are still in the registers, the result is known, and the
//! kernel has just read the caller's strings, so their pages are present. One hook instead of two
//! halves the cost for every other process.
//! Not here: the table (`agent_recorder_abi::syscall`), and the operations (`operations`, `guard`).

use agent_recorder_abi::event::VIA_SYSCALL;
use agent_recorder_abi::limits::SYSCALL_NUMBERS;
use agent_recorder_abi::state::Tag;
use agent_recorder_abi::syscall::{
    HANDLE_ACCEPT, HANDLE_BIND, HANDLE_CLOSE, HANDLE_CLOSE_RANGE, HANDLE_CONNECT, HANDLE_CONTROL,
    HANDLE_COPY, HANDLE_DUP, HANDLE_EXEC, HANDLE_FALLOCATE, HANDLE_FILE, HANDLE_IOCTL,
    HANDLE_LISTEN, HANDLE_NONE, HANDLE_OPEN, HANDLE_PWRITE, HANDLE_SENDFILE, HANDLE_SENDMMSG,
    HANDLE_SENDMSG, HANDLE_SENDTO, HANDLE_SOCKETCALL, HANDLE_SPLICE, HANDLE_URING_ENTER,
    HANDLE_WRITE, HANDLE_WRITEV, MARK_FCNTL,
};

use crate::context::areas::with_area;
use crate::context::call::Call;
use crate::context::maps;
use crate::guard::{enforce, overwrite, pending_cuts};
use crate::kernel::compat::current;
use crate::kernel::read::{hooks, read_user};
use crate::kernel::registers::{self, Registers, is_compat};
use crate::kernel::replica::{Event, Replica, is_ours};
use crate::kernel::types::Kiocb;
use crate::operations::{datagram, exec, fd_table, file_exit, open_exit, process_control, socket};
use crate::session::{sockaddr_snapshot, tag};

/// `-ERESTARTSYS` to `-ERESTART_RESTARTBLOCK` (include/linux/errno.h): the call is made again or
/// ends with EINTR, and is recorded when it returns for good.
const RESTARTS: core::ops::RangeInclusive<i64> = -516..=-512;

/// A system call ends.
#[inline(always)]
pub(crate) fn finished(replica: Replica, regs: *const Registers, result: i64) {
    let task = current();
    let compat = is_compat(task);
    // SAFETY: `regs` is the argument of sys_exit.
    let number = unsafe { registers::number(regs) };
    if number >= SYSCALL_NUMBERS {
        return;
    }
    let row = if compat {
        number + SYSCALL_NUMBERS
    } else {
        number
    };
    let Some(spec) = maps::SYSCALLS.get_ptr(row) else {
        return;
    };
    // SAFETY: `spec` is a map value, checked for null above.
    let handle = unsafe { (*spec).handle };
    if handle == HANDLE_NONE {
        enforce::enforce_unrecorded(task);
        return;
    }
    let Some(tag) = tag::tag_of(task) else {
        return;
    };
    if !is_ours(replica, task, Event::Call) {
        return;
    }
    with_area!(|scratch| {
        // SAFETY: `regs` is the argument of sys_exit; `arguments` has room for all six.
        unsafe { registers::arguments(regs, compat, (&raw mut (*scratch).arguments).cast()) };
        let call = Call {
            scratch,
            task,
            tag,
            row,
            result,
            compat,
            via: VIA_SYSCALL,
        };
        call.keep();
        dispatch(&call, handle);
        sockaddr_snapshot::forget(&call);
    });
    // The exec that brings a task to the gate is no act of the gated program.
    let held = if handle == HANDLE_EXEC { 0 } else { tag.held };
    enforce::enforce(Tag { held, ..tag });
}

#[inline(always)]
fn dispatch(call: &Call, handle: u8) {
    // A hook has stopped the call before its act, and it is made again.
    if call.result == -i64::from(enforce::ERESTARTNOINTR) {
        return;
    }
    match handle {
        HANDLE_CLOSE => {
            fd_table::closed(call);
            pending_cuts::closed(call);
        }
        HANDLE_CLOSE_RANGE => {
            fd_table::range_closed(call);
            pending_cuts::range_closed(call);
        }
        HANDLE_WRITE => {
            datagram::plain(call, 1);
            overwrite::written(call, call.fd_argument(0));
        }
        HANDLE_WRITEV => {
            datagram::vector(call);
            overwrite::written(call, call.fd_argument(0));
        }
        HANDLE_PWRITE => overwrite::written_at(call, 3),
        HANDLE_COPY => overwrite::copied(call),
        HANDLE_FALLOCATE => overwrite::punched(call),
        HANDLE_CONNECT => socket::connected(call),
        // A call that will be made again is recorded at its last exit.
        _ if RESTARTS.contains(&call.result) => {}
        HANDLE_OPEN => {
            open_exit::opened(call);
            overwrite::opened(call);
        }
        HANDLE_FILE => {
            file_exit::operated(call);
            file_exit::settled(call);
        }
        HANDLE_EXEC => exec_failed(call),
        HANDLE_IOCTL => {
            if process_control::is_recorded(call) {
                process_control::commanded(call);
                file_exit::operated(call);
            }
        }
        HANDLE_CONTROL => process_control::controlled(call),
        HANDLE_DUP => duplicated(call),
        HANDLE_ACCEPT => socket::accepted(call),
        HANDLE_BIND => socket::bound_to(call),
        HANDLE_LISTEN => socket::listening(call),
        HANDLE_SENDTO => datagram::to(call),
        HANDLE_SENDMSG => datagram::message(call),
        HANDLE_SENDMMSG => datagram::messages(call),
        HANDLE_SOCKETCALL => socketcall(call),
        HANDLE_SENDFILE => {
            datagram::transferred(call, 0);
            overwrite::written(call, call.fd_argument(0));
        }
        HANDLE_SPLICE => {
            datagram::transferred(call, 2);
            overwrite::written(call, call.fd_argument(2));
        }
        HANDLE_URING_ENTER if hooks().see != 0 || hooks().touch != 0 => {
            tag::note_request(call.task, Kiocb::NONE)
        }
        _ => {}
    }
}

/// A successful exec was recorded at sched_process_exec.
#[inline(always)]
fn exec_failed(call: &Call) {
    if call.result < 0 {
        let path = call.spec().path;
        exec::exec_failed(call, call.argument(path), call.argument(path + 1));
    }
}

/// F_DUPFD and F_DUPFD_CLOEXEC (fcntl(2)).
const DUPLICATES: [u64; 2] = [0, 1030];

#[inline(always)]
fn duplicated(call: &Call) {
    if call.spec().marks & MARK_FCNTL != 0 {
        let command = call.argument(1);
        if command != DUPLICATES[0] && command != DUPLICATES[1] {
            return;
        }
    }
    fd_table::duplicated(call);
    pending_cuts::duplicated(call);
}

/// socketcall(2): the second argument is an array of the call's arguments, 32 bits each.
#[inline(always)]
fn socketcall(call: &Call) {
    let which = call.argument(0);
    let array = call.argument(1);
    let mut index = 0;
    while index < 6 {
        let value = u64::from(read_user::<u32>(array + index * 4));
        // SAFETY: `index` is below 6, and `arguments` has eight elements.
        unsafe {
            core::ptr::write_volatile(
                (&raw mut (*call.scratch).arguments)
                    .cast::<u64>()
                    .add(index as usize),
                value,
            );
        }
        index += 1;
    }
    // `SYS_…` of include/uapi/linux/net.h.
    match which {
        2 => socket::bound_to(call),
        3 => socket::connected(call),
        4 => socket::listening(call),
        5 | 18 => socket::accepted(call),
        9 | 11 => datagram::to_by_socketcall(call, which == 11),
        16 => datagram::message(call),
        20 => datagram::messages(call),
        _ => {}
    }
}
