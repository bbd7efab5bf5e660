//! Requests of io_uring, which pass no system call of their own.
//!
//! A request is observed twice: at its submission, because its paths exist only until it runs, and
//! at its completion, for its result. The first event announces the request, the second brings the
//! result; user space joins them by a token.
//!
//! Not here: the fields of a request (`io_uring_fields`).

use agent_recorder_abi::event::{FileBody, NetOp, Op, REPLACED_UNKNOWN, Trouble, VIA_URING};
use agent_recorder_abi::state::Tag;
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns};

use crate::context::areas::{untyped, with_area};
use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::operation::OperationKey;
use crate::context::scratch::{LOCAL, PEER, Scratch};
use crate::dispatch::io_uring_fields::{self, INTO_SLOT, Request, opcode};
use crate::event::address;
use crate::event::writer::Writer;
use crate::guard::{enforce, overwrite, pending_cuts, post_op};
use crate::kernel::compat::{Task, current};
use crate::kernel::counters::trouble;
use crate::kernel::read::{hooks, offset};
use crate::kernel::replica::{Event, Replica, is_ours};
use crate::kernel::types::{Fd, File, Kiocb};
use crate::operations::{fd_table, file_exit, open_exit, socket, socket_table};
use crate::session::tag;

/// The submitter is about to issue a prepared request.
#[inline(always)]
pub(crate) fn submitted(replica: Replica, kiocb: Kiocb) {
    let request = Request {
        kiocb,
        opcode: kiocb.opcode(),
    };
    if request.opcode < opcode::ACCEPT || request.opcode > opcode::LISTEN {
        return;
    }
    let task = current();
    let Some(tag) = tag::tag_of(task) else {
        return;
    };
    if !is_ours(replica, task, Event::Submission) {
        return;
    }
    with_area!(|scratch| {
        let request = Request {
            kiocb: untyped(scratch, kiocb),
            ..request
        };
        begin(scratch, task, tag, request);
    });
    if hooks().see != 0 || hooks().touch != 0 {
        tag::note_request(task, kiocb);
    }
    enforce::enforce(tag);
}

#[inline(always)]
fn begin(scratch: *mut Scratch, task: Task, tag: Tag, request: Request) {
    // One CPU submits one request at a time, so time and CPU name it.
    // SAFETY: the helpers take no arguments.
    let token =
        unsafe { bpf_ktime_get_boot_ns() << 8 | u64::from(bpf_get_smp_processor_id() & 0xff) };
    let call = Call::without_row(scratch, task, tag, VIA_URING);
    let is_file = io_uring_fields::is_of_files(request.opcode);
    if !is_file && !opcode::OF_DESCRIPTORS.contains(&request.opcode) {
        return;
    }
    call.keep();
    remember(&call, request.kiocb, request.opcode, token);
    if is_file {
        io_uring_fields::announce(&call, request.kiocb, request.opcode, token);
    }
}

global! {
    /// Stores the request until its completion. The value lies in the scratch area because the
    /// stack is too small for it.
    fn remember(call: &Call, kiocb: Kiocb, opcode: u32, token: u64) {
        let request = Request { kiocb, opcode };
        // SAFETY: `call.scratch` is a map value, checked for null.
        let kept = unsafe { &raw mut (*call.scratch).request };
        address::clear(call.peer());
        if request.opcode == opcode::CONNECT {
            let address = request.field(offset!(io_connect_addr));
            let length = request.field::<u32>(offset!(io_connect_len));
            address::user_address(call, PEER, address, u64::from(length));
        }
        let fd = if request.opcode == opcode::CLOSE {
            request.field::<i32>(offset!(io_close_fd))
        } else {
            request.kiocb.descriptor_number()
        };
        // SAFETY: `kept` and `call.peer()` are fields of one map value.
        unsafe {
            (*kept).token = token;
            (*kept).opcode = request.opcode;
            (*kept).fd = fd;
            (*kept).file = request.kiocb.file(call.task).address();
            (*kept).flags = request.flags();
            (*kept).address = *call.peer();
            if maps::URING.insert(&request.kiocb.address(), &*kept, 0).is_err() {
                trouble(Trouble::UringMapFull);
            }
        }
    }
}

/// Adds to the sent bytes of a socket, on kernels without sock_send_length (6.3).
#[inline(always)]
fn count_sent(kiocb: Kiocb, bytes: i32) {
    let opcode = kiocb.opcode();
    if !opcode::SENDING.contains(&opcode) {
        return;
    }
    if let Some(open) = socket_table::of_file(kiocb.found_file()) {
        socket_table::add_sent(&open.key, bytes as u64);
    }
}

/// A request completes: in its submitter, or in a worker.
#[inline(always)]
pub(crate) fn completed(kiocb: Kiocb, result: i32) {
    let task = current();
    let Some(tag) = tag::tag_of(task) else {
        return;
    };
    if hooks().count != 0 && result > 0 {
        count_sent(kiocb, result);
    }
    let address = kiocb.address();
    let Some(kept) = maps::URING.get_ptr(&address) else {
        return;
    };
    with_area!(|scratch| {
        // SAFETY: `scratch` and `kept` are map values, checked for null above.
        unsafe {
            (*scratch).request = *kept;
            (*scratch).peer = (*kept).address;
        }
        let _ = maps::URING.remove(&address);
        let call = Call {
            result: i64::from(result),
            ..Call::without_row(scratch, task, tag, VIA_URING)
        };
        call.keep();
        // Earlier requests come first: this one may close another socket.
        fd_table::settle_held(&call);
        finish(&call, kiocb);
        settled(&call, kiocb);
    });
    enforce::enforce(tag);
}

global! {
    fn finish(call: &Call, kiocb: Kiocb) {
        // SAFETY: `call.scratch` is a map value, checked for null; index 0 is within `arguments`.
        let (opcode, token, fd, file, flags) = unsafe {
            let kept = &raw const (*call.scratch).request;
            let fd = u64::from((*kept).fd as u32);
            (&raw mut (*call.scratch).arguments).cast::<u64>().write(fd);
            (
                (*kept).opcode,
                (*kept).token,
                Fd::of(fd),
                File::at((*kept).file),
                (*kept).flags,
            )
        };
        match opcode {
            opcode::ACCEPT => socket::accepted(call),
            opcode::CLOSE => {
                fd_table::closed(call);
                pending_cuts::closed_by_request(call);
            }
            opcode::CONNECT | opcode::BIND | opcode::LISTEN => finish_socket(call, opcode, fd, file),
            // An open into a slot leads to no descriptor: it is recorded by the path that it named.
            opcode::OPENAT | opcode::OPENAT2 if call.result >= 0 && flags & INTO_SLOT == 0 => {
                open_exit::opened_descriptor(call, flags, 0, token);
                overwrite::opened(call);
            }
            _ => finish_file(call, token, kiocb),
        }
    }
}

global! {
    fn finish_socket(call: &Call, opcode: u32, fd: Fd, file: File) {
        let Some(open) = socket_table::of_file(file) else {
            return;
        };
        if !address::is_recorded(open.family) {
            return;
        }
        call.is_about(open);
        if opcode == opcode::CONNECT {
            socket::outcome(call, fd, &open);
            return;
        }
        address::kernel_address(call, LOCAL);
        let op = if opcode == opcode::BIND {
            NetOp::Bind
        } else {
            NetOp::Listen
        };
        socket::announce(call, fd, op);
    }
}

global! {
    fn finish_file(call: &Call, token: u64, kiocb: Kiocb) {
        // SAFETY: `call.scratch` is a map value, checked for null.
        let opcode = unsafe { (*call.scratch).request.opcode };
        let renamed = opcode == opcode::RENAMEAT && call.result >= 0 && hooks().touch != 0;
        let writer = Writer::begin::<FileBody>(call.scratch);
        // The announcement has the removed object; from it user space distinguishes directory and
        // file.
        let body = FileBody {
            via: VIA_URING,
            error: call.error(),
            token,
            replaced: if renamed {
                post_op::replaced_by_rename(OperationKey::of_request(kiocb)) as u16
            } else {
                REPLACED_UNKNOWN
            },
            ..FileBody::default()
        };
        file_exit::send_result(writer, call, body);
    }
}

/// Reports the result to the guard. Separate from `finish`, whose stack has no room for it.
#[inline(always)]
fn settled(call: &Call, kiocb: Kiocb) {
    // SAFETY: `call.scratch` is a map value, checked for null.
    let (opcode, flags) = unsafe {
        let kept = &raw const (*call.scratch).request;
        ((*kept).opcode, (*kept).flags)
    };
    let op = io_uring_fields::op_of(opcode, flags);
    if Op::is_of_names(op) {
        let key = OperationKey::of_request(kiocb);
        post_op::settle(call, key, u32::from(op), u32::from(call.result >= 0));
    }
}
