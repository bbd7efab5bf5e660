//! io_uring: what never passes a system call of its own.
//!
//! A request is looked at twice: when it is submitted, for its paths are only
//! there until it runs, and when it completes, for its result. The first event
//! announces, the second brings the result; user space joins them by a token.

use agent_recorder_abi::event::{FILE_PENDING, FileBody, NetOp, Op, Trouble, VIA_URING};
use agent_recorder_abi::kernel_fields::ABSENT;
use agent_recorder_abi::limits::{USER_PATH_BYTES, XATTR_NAME_BYTES};
use agent_recorder_abi::state::Tag;
use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns};

use crate::context::call::{Call, global};
use crate::context::maps;
use crate::dispatch::syscall_exit;
use crate::event::dentry_walk;
use crate::event::writer::{Scratch, Writer, trouble, with_area};
use crate::guard::budget;
use crate::guard::overwrite;
use crate::guard::post_op;
use crate::guard::pre_op;
use crate::kernel::read::{Task, current, file_of, hooks, offset, read};
use crate::kernel::replica::{Event, Replica, is_ours};
use crate::operations::fd_table;
use crate::operations::file_exit::{self, Location};
use crate::operations::file_hook;
use crate::operations::socket;
use crate::operations::socket_table;
use crate::session::tag;

/// `enum io_uring_op` (include/uapi/linux/io_uring.h): part of the ABI.
mod opcode {
    pub(super) const ACCEPT: u32 = 13;
    pub(super) const CONNECT: u32 = 16;
    pub(super) const OPENAT: u32 = 18;
    pub(super) const CLOSE: u32 = 19;
    pub(super) const OPENAT2: u32 = 28;
    pub(super) const RENAMEAT: u32 = 35;
    pub(super) const UNLINKAT: u32 = 36;
    pub(super) const MKDIRAT: u32 = 37;
    pub(super) const SYMLINKAT: u32 = 38;
    pub(super) const LINKAT: u32 = 39;
    pub(super) const FSETXATTR: u32 = 41;
    pub(super) const SETXATTR: u32 = 42;
    pub(super) const FTRUNCATE: u32 = 55;
    pub(super) const BIND: u32 = 56;
    pub(super) const LISTEN: u32 = 57;
    /// Those that can put bytes into a socket: writev, write_fixed, sendmsg, write, send, send_zc, sendmsg_zc.
    pub(super) const SENDING: [u32; 7] = [2, 5, 9, 23, 26, 47, 48];
}

const AT_FDCWD: i32 = -100;
const AT_REMOVEDIR: u32 = 0x200;
/// `REQ_F_CQE_SKIP` (include/linux/io_uring_types.h): success makes no completion.
const SKIPS_COMPLETION: u64 = 1 << 6;
/// `REQ_F_FIXED_FILE`.
const FIXED_FILE: u64 = 1;
/// io_uring adds it to every open (`force_o_largefile()`); nobody asked for it.
const O_LARGEFILE: u64 = 0o100_000;

/// The result in a completion.
#[inline(always)]
pub(crate) fn result_of(completion: *const u8) -> i32 {
    read(completion as u64, offset!(cqe_res))
}

/// A request as the programs look at it.
#[derive(Clone, Copy)]
struct Request {
    address: u64,
    opcode: u32,
}

impl Request {
    /// A field of the operation's own structure, which lies over `io_kiocb.cmd`.
    #[inline(always)]
    fn field<T: agent_recorder_abi::Pod + Default>(self, offset: usize) -> T {
        if offset == ABSENT as usize {
            return T::default();
        }
        read(self.address + offset!(kiocb_cmd) as u64, offset)
    }

    #[inline(always)]
    fn open_flags(self) -> u64 {
        self.field::<u64>(offset!(io_open_flags)) & !O_LARGEFILE
    }

    /// The file that it works on. The kernel looks it up as it issues the
    /// request, after the hook; one registered with the ring
    /// (IOSQE_FIXED_FILE) is not known by then, 0.
    #[inline(always)]
    fn file(self, task: Task) -> u64 {
        let file: u64 = read(self.address, offset!(kiocb_file));
        let flags: u64 = read(self.address, offset!(kiocb_flags));
        if file != 0 || flags & FIXED_FILE != 0 {
            return file;
        }
        let fd: i32 = read(self.address, offset!(kiocb_fd));
        file_of(task, u64::from(fd as u32))
    }

    /// The kernel's copy of a path (`struct filename`).
    #[inline(always)]
    fn name(self, offset: usize) -> u64 {
        read(self.field(offset), offset!(filename_name))
    }
}

/// A request was prepared and is about to be issued, by its submitter.
#[inline(always)]
pub(crate) fn submitted(replica: Replica, address: u64) {
    let request = Request {
        address,
        opcode: u32::from(read::<u8>(address, offset!(kiocb_opcode))),
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
        // A global function takes no pointers: through the area it is a number.
        // SAFETY: a field of a map value.
        let request = unsafe {
            core::ptr::write_volatile(&raw mut (*scratch).end, address);
            Request {
                address: core::ptr::read_volatile(&raw const (*scratch).end),
                ..request
            }
        };
        begin(scratch, task, tag, request);
    });
    if hooks().see != 0 || hooks().touch != 0 {
        tag::note_request(task, address);
    }
    budget::enforce(tag);
}

#[inline(always)]
fn begin(scratch: *mut Scratch, task: Task, tag: Tag, request: Request) {
    // One CPU submits one request at a time: time and CPU name it.
    // SAFETY: the helpers take nothing.
    let token =
        unsafe { bpf_ktime_get_boot_ns() << 8 | u64::from(bpf_get_smp_processor_id() & 0xff) };
    let call = Call::without_row(scratch, task, tag, VIA_URING);
    let is_file = match request.opcode {
        opcode::ACCEPT | opcode::CONNECT | opcode::CLOSE | opcode::BIND | opcode::LISTEN => false,
        opcode::OPENAT
        | opcode::OPENAT2
        | opcode::RENAMEAT
        | opcode::UNLINKAT
        | opcode::MKDIRAT
        | opcode::SYMLINKAT
        | opcode::LINKAT
        | opcode::FSETXATTR
        | opcode::SETXATTR
        | opcode::FTRUNCATE => true,
        _ => return,
    };
    call.keep();
    remember(&call, request.address, request.opcode, token);
    if is_file {
        announce(&call, request.address, request.opcode, token);
    }
}

global! {
    /// Keeps what the completion will need. The value is put together in the scratch area: it is too large for the stack.
    fn remember(call: &Call, address: u64, opcode: u32, token: u64) {
        let request = Request { address, opcode };
        // SAFETY: a field of a map value.
        let kept = unsafe { &raw mut (*call.scratch).request };
        socket::clear(call.peer());
        if request.opcode == opcode::CONNECT {
            let address = request.field(offset!(io_connect_addr));
            let length = request.field::<u32>(offset!(io_connect_len));
            socket::user_address(call, socket::PEER, address, u64::from(length));
        }
        let fd = if request.opcode == opcode::CLOSE {
            request.field::<i32>(offset!(io_close_fd))
        } else {
            read(request.address, offset!(kiocb_fd))
        };
        // SAFETY: as above.
        unsafe {
            (*kept).token = token;
            (*kept).opcode = request.opcode;
            (*kept).fd = fd;
            (*kept).file = request.file(call.task);
            (*kept).flags = match request.opcode {
                opcode::OPENAT | opcode::OPENAT2 => request.open_flags(),
                opcode::UNLINKAT => u64::from(request.field::<u32>(offset!(io_unlink_flags))),
                _ => 0,
            };
            (*kept).address = *call.peer();
            if maps::URING.insert(&request.address, &*kept, 0).is_err() {
                trouble(Trouble::UringMapFull);
            }
        }
    }
}

global! {
    /// What a file request asks for, before it runs.
    fn announce(call: &Call, address: u64, opcode: u32, token: u64) {
        let request = Request { address, opcode };
        let mut writer = Writer::begin::<FileBody>(call.scratch);
        let body = writer.body::<FileBody>();
        let mut asked = FileBody {
            via: VIA_URING,
            marks: FILE_PENDING,
            token,
            ..FileBody::default()
        };
        let mut second = Location::default();
        let mut extra_len = 0;
        let first = match request.opcode {
            opcode::UNLINKAT => {
                asked.flags = u64::from(request.field::<u32>(offset!(io_unlink_flags)));
                let is_rmdir = asked.flags as u32 & AT_REMOVEDIR != 0;
                asked.op = if is_rmdir { Op::Rmdir } else { Op::Delete } as u8;
                location(
                    &mut writer,
                    call,
                    request.field(offset!(io_unlink_dfd)),
                    request.name(offset!(io_unlink_name)),
                )
            }
            opcode::RENAMEAT => {
                asked.op = Op::Rename as u8;
                asked.flags = u64::from(request.field::<u32>(offset!(io_rename_flags)));
                let first = location(
                    &mut writer,
                    call,
                    request.field(offset!(io_rename_old_dfd)),
                    request.name(offset!(io_rename_old)),
                );
                second = location(
                    &mut writer,
                    call,
                    request.field(offset!(io_rename_new_dfd)),
                    request.name(offset!(io_rename_new)),
                );
                first
            }
            opcode::LINKAT => {
                asked.op = Op::Link as u8;
                asked.flags = u64::from(request.field::<u32>(offset!(io_link_flags)));
                let first = location(
                    &mut writer,
                    call,
                    request.field(offset!(io_link_old_dfd)),
                    request.name(offset!(io_link_old)),
                );
                second = location(
                    &mut writer,
                    call,
                    request.field(offset!(io_link_new_dfd)),
                    request.name(offset!(io_link_new)),
                );
                first
            }
            opcode::SYMLINKAT => {
                asked.op = Op::Symlink as u8;
                let first = location(
                    &mut writer,
                    call,
                    request.field(offset!(io_link_new_dfd)),
                    request.name(offset!(io_link_new)),
                );
                extra_len = writer
                    .kernel_string::<USER_PATH_BYTES>(request.name(offset!(io_link_old)))
                    .unwrap_or(0);
                first
            }
            opcode::MKDIRAT => {
                asked.op = Op::Mkdir as u8;
                asked.mode = u32::from(request.field::<u16>(offset!(io_mkdir_mode)));
                location(
                    &mut writer,
                    call,
                    request.field(offset!(io_mkdir_dfd)),
                    request.name(offset!(io_mkdir_name)),
                )
            }
            opcode::OPENAT | opcode::OPENAT2 => {
                asked.op = Op::Open as u8;
                asked.flags = request.open_flags();
                asked.mode = request.field::<u64>(offset!(io_open_mode)) as u32;
                location(
                    &mut writer,
                    call,
                    request.field(offset!(io_open_dfd)),
                    request.name(offset!(io_open_name)),
                )
            }
            opcode::FTRUNCATE => {
                asked.op = Op::Truncate as u8;
                asked.length = request.field(offset!(io_ftrunc_len));
                own_file(&mut writer, call, request)
            }
            _ => {
                asked.op = Op::Xattr as u8;
                let first = if request.opcode == opcode::SETXATTR {
                    location(
                        &mut writer,
                        call,
                        AT_FDCWD,
                        request.name(offset!(io_xattr_name)),
                    )
                } else {
                    own_file(&mut writer, call, request)
                };
                let name = request.field(offset!(io_xattr_kname));
                extra_len = writer.kernel_string::<XATTR_NAME_BYTES>(name).unwrap_or(0);
                first
            }
        };
        asked.marks |= first.marks | second.marks;
        asked.base_len = first.base_len;
        asked.path_len = first.path_len;
        asked.omitted = first.omitted;
        asked.base2_len = second.base_len;
        asked.path2_len = second.path_len;
        asked.extra_len = extra_len;
        let skips = read::<u64>(request.address, offset!(kiocb_flags)) & SKIPS_COMPLETION != 0;
        if skips {
            // No completion will come when it succeeds: what was asked for is what is known.
            asked.marks &= !FILE_PENDING;
        }
        let op = asked.op;
        // SAFETY: `begin` left room for it.
        unsafe { *body = asked };
        file_exit::send_operation(call, writer.position(), u32::from(op));
        // Its success will not be told; where a hook refuses, that one counts.
        if skips && op == Op::Delete as u8 && hooks().refuse == 0 {
            budget::count_destroyed(call.tag.session, 0, 0);
        }
    }
}

global! {
    /// The kernel's own copy of a path. In `scratch.location` afterwards.
    fn locate_name(call: &Call, at: u64, dirfd: i32, name: u64) {
        let mut writer = Writer::resume(call.scratch, at);
        let location =
            file_exit::append_location(&mut writer, call.task, dirfd, read(name, 0), |writer| {
                writer.kernel_string::<USER_PATH_BYTES>(name)
            });
        call.leave(location, writer.position());
    }
}

#[inline(always)]
fn location(writer: &mut Writer, call: &Call, dirfd: i32, name: u64) -> Location {
    locate_name(call, writer.position(), dirfd, name);
    call.take_location(writer)
}

#[inline(always)]
fn own_file(writer: &mut Writer, call: &Call, request: Request) -> Location {
    let file = request.file(call.task);
    if file == 0 {
        return Location::default();
    }
    let walked = dentry_walk::append(writer, dentry_walk::of_file(file));
    Location::of(walked, agent_recorder_abi::event::FILE_KERNEL_PATH)
}

/// Adds to what a socket sent, where no tracepoint does.
#[inline(always)]
fn count_sent(address: u64, bytes: i32) {
    let opcode = u32::from(read::<u8>(address, offset!(kiocb_opcode)));
    if !opcode::SENDING.contains(&opcode) {
        return;
    }
    if let Some(open) = socket_table::of_file(read(address, offset!(kiocb_file))) {
        socket::add_sent(&open.key, bytes as u64);
    }
}

/// A request has its result: in the submitter, or in one of its workers.
#[inline(always)]
pub(crate) fn completed(address: u64, result: i32) {
    let task = current();
    let Some(tag) = tag::tag_of(task) else {
        return;
    };
    if hooks().count != 0 && result > 0 {
        count_sent(address, result);
    }
    let Some(kept) = maps::URING.get_ptr(&address) else {
        return;
    };
    with_area!(|scratch| {
        // SAFETY: both are map values, checked not null.
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
        // Before this one, which may close another.
        fd_table::settle_held(&call);
        finish(&call);
        settled(&call, address);
    });
    budget::enforce(tag);
}

global! {
    fn finish(call: &Call) {
        // SAFETY: fields of a map value, and `arguments` has eight elements.
        let (opcode, token, fd, file, flags) = unsafe {
            let kept = &raw const (*call.scratch).request;
            let fd = u64::from((*kept).fd as u32);
            (&raw mut (*call.scratch).arguments).cast::<u64>().write(fd);
            (
                (*kept).opcode,
                (*kept).token,
                fd,
                (*kept).file,
                (*kept).flags,
            )
        };
        match opcode {
            opcode::ACCEPT => socket::accepted(call),
            opcode::CLOSE => fd_table::closed(call),
            opcode::CONNECT | opcode::BIND | opcode::LISTEN => finish_socket(call, opcode, fd, file),
            opcode::OPENAT | opcode::OPENAT2 if call.result >= 0 => {
                file_exit::opened_descriptor(call, flags, 0, token);
                overwrite::opened(call);
            }
            _ => finish_file(call, token),
        }
    }
}

global! {
    fn finish_socket(call: &Call, opcode: u32, fd: u64, file: u64) {
        let Some(open) = socket_table::of_file(file) else {
            return;
        };
        if !socket::is_recorded(open.family) {
            return;
        }
        call.is_about(open);
        if opcode == opcode::CONNECT {
            socket::outcome(call, fd, &open);
            return;
        }
        socket::kernel_address(call, socket::LOCAL);
        let op = if opcode == opcode::BIND {
            NetOp::Bind
        } else {
            NetOp::Listen
        };
        socket::announce(call, fd, op);
    }
}

global! {
    fn finish_file(call: &Call, token: u64) {
        let writer = Writer::begin::<FileBody>(call.scratch);
        // What was removed is known from the announcement; user space tells directory from file there.
        let body = FileBody {
            via: VIA_URING,
            error: call.error(),
            token,
            ..FileBody::default()
        };
        file_exit::send_result(writer, call, body);
    }
}

/// Tells the guard that it is over. Not from within `finish`, for there the
/// stack has no room.
#[inline(always)]
fn settled(call: &Call, address: u64) {
    // SAFETY: fields of a map value.
    let (opcode, flags) = unsafe {
        let kept = &raw const (*call.scratch).request;
        ((*kept).opcode, (*kept).flags)
    };
    let op = op_of(opcode, flags);
    if Op::is_of_names(op) {
        post_op::settle(call, address, u32::from(op), u32::from(call.result >= 0));
    }
}

/// What a request does to names; none for all others.
#[inline(always)]
fn op_of(opcode: u32, flags: u64) -> u8 {
    let op = match opcode {
        opcode::UNLINKAT if flags as u32 & AT_REMOVEDIR != 0 => Op::Rmdir,
        opcode::UNLINKAT => Op::Delete,
        opcode::RENAMEAT => Op::Rename,
        opcode::MKDIRAT => Op::Mkdir,
        opcode::SYMLINKAT => Op::Symlink,
        _ => Op::None,
    };
    op as u8
}

/// The operation that a task is in the middle of, and what names it until its exit.
#[inline(always)]
pub(crate) fn operation_of(task: Task, tag: Tag) -> (u32, u64) {
    let address = file_hook::request_of(task, tag);
    if address != 0
        && let Some(kept) = maps::URING.get_ptr(&address)
    {
        // SAFETY: a map value, checked not null.
        let (opcode, flags) = unsafe { ((*kept).opcode, (*kept).flags) };
        return (u32::from(op_of(opcode, flags)), address);
    }
    (syscall_exit::operation_of(task), pre_op::of_thread())
}
