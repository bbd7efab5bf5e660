//! The table of io_uring's file requests: operation and fields of each opcode, and the event that
//! announces it.
//! Not here: the moments at which a request is observed (`io_uring`).

use agent_recorder_abi::criteria::FILE_REMOVED;
use agent_recorder_abi::event::{FILE_KERNEL_PATH, FILE_PENDING, FileBody, Op, VIA_URING};
use agent_recorder_abi::kernel_fields::ABSENT;
use agent_recorder_abi::limits::{USER_PATH_BYTES, XATTR_NAME_BYTES};

use crate::context::call::{Call, global};
use crate::context::scratch::Location;
use crate::event::writer::Writer;
use crate::event::{dentry_walk, location};
use crate::guard::criteria;
use crate::kernel::read::{offset, read};
use crate::kernel::types::Kiocb;
use crate::kernel::uapi::{AT_FDCWD, AT_REMOVEDIR, O_LARGEFILE};
use crate::operations::file_exit;

/// `enum io_uring_op` (include/uapi/linux/io_uring.h): part of the ABI.
pub(crate) mod opcode {
    pub(crate) const ACCEPT: u32 = 13;
    pub(crate) const CONNECT: u32 = 16;
    pub(crate) const OPENAT: u32 = 18;
    pub(crate) const CLOSE: u32 = 19;
    pub(crate) const OPENAT2: u32 = 28;
    pub(crate) const RENAMEAT: u32 = 35;
    pub(crate) const UNLINKAT: u32 = 36;
    pub(crate) const MKDIRAT: u32 = 37;
    pub(crate) const SYMLINKAT: u32 = 38;
    pub(crate) const LINKAT: u32 = 39;
    pub(crate) const FSETXATTR: u32 = 41;
    pub(crate) const SETXATTR: u32 = 42;
    pub(crate) const FTRUNCATE: u32 = 55;
    pub(crate) const BIND: u32 = 56;
    pub(crate) const LISTEN: u32 = 57;
    /// Requests on sockets and descriptors, whose event follows the completion.
    pub(crate) const OF_DESCRIPTORS: [u32; 5] = [ACCEPT, CONNECT, CLOSE, BIND, LISTEN];
    /// Requests that can send bytes: writev, write_fixed, sendmsg, write, send, send_zc,
    /// sendmsg_zc.
    pub(crate) const SENDING: [u32; 7] = [2, 5, 9, 23, 26, 47, 48];
}

/// Marks the flags of an open into a slot of the ring (`io_open.file_slot`, 5.15): its result is
/// no descriptor. No flag of an open has this bit.
pub(crate) const INTO_SLOT: u64 = 1 << 63;

/// `REQ_F_CQE_SKIP` (include/linux/io_uring_types.h): a success posts no completion.
const SKIPS_COMPLETION: u64 = 1 << 6;

#[inline(always)]
pub(crate) fn result_of(completion: *const u8) -> i32 {
    read(completion as u64, offset!(cqe_res))
}

/// A request with its opcode, which is read once.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) kiocb: Kiocb,
    pub(crate) opcode: u32,
}

impl Request {
    /// A field of the operation's own structure, which lies over `io_kiocb.cmd`.
    #[inline(always)]
    pub(crate) fn field<T: agent_recorder_abi::Pod + Default>(self, offset: usize) -> T {
        if offset == ABSENT as usize {
            return T::default();
        }
        read(self.kiocb.command(), offset)
    }

    /// Flags of the open, without the O_LARGEFILE that io_uring adds to each
    /// (`force_o_largefile()`).
    #[inline(always)]
    fn open_flags(self) -> u64 {
        self.field::<u64>(offset!(io_open_flags)) & !O_LARGEFILE
    }

    /// The flags that the completion needs: those of an open are recorded with it, those of an
    /// unlink distinguish directory and file.
    #[inline(always)]
    pub(crate) fn flags(self) -> u64 {
        match self.opcode {
            opcode::OPENAT | opcode::OPENAT2 => {
                let slot = self.field::<u32>(offset!(io_open_slot));
                self.open_flags() | if slot == 0 { 0 } else { INTO_SLOT }
            }
            opcode::UNLINKAT => u64::from(self.field::<u32>(offset!(io_unlink_flags))),
            _ => 0,
        }
    }

    /// The kernel's copy of a path (`struct filename`).
    #[inline(always)]
    fn name(self, offset: usize) -> u64 {
        read(self.field(offset), offset!(filename_name))
    }
}

/// The table of file requests, one row an opcode: the operation, whether the guard follows it to
/// its completion, and the parts of its event, each with the fields of the request
/// (`kernel_fields`). Paths are in the order of the event.
macro_rules! file_requests {
    ($($($opcode:ident)|+ => $op:ident, guarded: $guarded:literal, $($part:ident($($field:ident),*)),+;)+) => {
        /// Rows ascend, so each opcode has one row.
        const _: () = assert!(ascend(&[$($(opcode::$opcode),+),+]));

        /// Operation of a request; [`Op::None`] for an opcode without a row.
        const fn operation(opcode: u32) -> Op {
            match opcode {
                $($(opcode::$opcode)|+ => Op::$op,)+
                _ => Op::None,
            }
        }

        const fn is_guarded(opcode: u32) -> bool {
            match opcode {
                $($(opcode::$opcode)|+ => $guarded,)+
                _ => false,
            }
        }

        impl Announcement<'_> {
            /// Appends the parts of the request's row.
            #[inline(always)]
            fn fill(&mut self) {
                match self.request.opcode {
                    $($(opcode::$opcode)|+ => {
                        self.body.op = Op::$op as u8;
                        $(self.$part($(offset!($field)),*);)+
                    })+
                    _ => {}
                }
            }
        }
    };
}

file_requests! {
    OPENAT | OPENAT2 => Open, guarded: false,
        open_flags(), mode_of_64(io_open_mode), first(io_open_dfd, io_open_name);
    RENAMEAT => Rename, guarded: true,
        flags(io_rename_flags),
        first(io_rename_old_dfd, io_rename_old), second(io_rename_new_dfd, io_rename_new);
    UNLINKAT => Delete, guarded: true,
        removal_flags(io_unlink_flags), first(io_unlink_dfd, io_unlink_name);
    MKDIRAT => Mkdir, guarded: true,
        mode_of_16(io_mkdir_mode), first(io_mkdir_dfd, io_mkdir_name);
    SYMLINKAT => Symlink, guarded: true,
        first(io_link_new_dfd, io_link_new), target(io_link_old);
    LINKAT => Link, guarded: false,
        flags(io_link_flags),
        first(io_link_old_dfd, io_link_old), second(io_link_new_dfd, io_link_new);
    FSETXATTR => Xattr, guarded: false,
        own_file(), attribute(io_xattr_kname);
    SETXATTR => Xattr, guarded: false,
        first_from_here(io_xattr_name), attribute(io_xattr_kname);
    FTRUNCATE => Truncate, guarded: false,
        length(io_ftrunc_len), own_file();
}

const fn ascend(opcodes: &[u32]) -> bool {
    let mut index = 1;
    while index < opcodes.len() {
        if opcodes[index - 1] >= opcodes[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// Whether an opcode has a row.
#[inline(always)]
pub(crate) fn is_of_files(opcode: u32) -> bool {
    operation(opcode) as u8 != Op::None as u8
}

/// Operation of a request that the guard follows; [`Op::None`] for all others.
#[inline(always)]
pub(crate) fn op_of(opcode: u32, flags: u64) -> u8 {
    if !is_guarded(opcode) {
        return Op::None as u8;
    }
    if opcode == opcode::UNLINKAT && flags & AT_REMOVEDIR != 0 {
        return Op::Rmdir as u8;
    }
    operation(opcode) as u8
}

/// An announcement under construction. Each method is a part that a row can have.
struct Announcement<'a> {
    writer: Writer,
    call: &'a Call,
    request: Request,
    body: FileBody,
    first: Location,
    second: Location,
}

impl Announcement<'_> {
    #[inline(always)]
    fn flags(&mut self, at: usize) {
        self.body.flags = u64::from(self.request.field::<u32>(at));
    }

    /// With AT_REMOVEDIR unlinkat(2) is an rmdir.
    #[inline(always)]
    fn removal_flags(&mut self, at: usize) {
        self.flags(at);
        if self.body.flags & AT_REMOVEDIR != 0 {
            self.body.op = Op::Rmdir as u8;
        }
    }

    #[inline(always)]
    fn open_flags(&mut self) {
        self.body.flags = self.request.open_flags();
    }

    #[inline(always)]
    fn mode_of_16(&mut self, at: usize) {
        self.body.mode = u32::from(self.request.field::<u16>(at));
    }

    #[inline(always)]
    fn mode_of_64(&mut self, at: usize) {
        self.body.mode = self.request.field::<u64>(at) as u32;
    }

    #[inline(always)]
    fn length(&mut self, at: usize) {
        self.body.length = self.request.field(at);
    }

    #[inline(always)]
    fn first(&mut self, dirfd: usize, name: usize) {
        self.first = self.location(self.request.field(dirfd), name);
    }

    #[inline(always)]
    fn second(&mut self, dirfd: usize, name: usize) {
        self.second = self.location(self.request.field(dirfd), name);
    }

    /// A relative path starts at the working directory.
    #[inline(always)]
    fn first_from_here(&mut self, name: usize) {
        self.first = self.location(AT_FDCWD, name);
    }

    /// The file that the request works on.
    #[inline(always)]
    fn own_file(&mut self) {
        let file = self.request.kiocb.file(self.call.task);
        if !file.is_none() {
            let walked = dentry_walk::append(&mut self.writer, file.path());
            self.first = Location::of(walked, FILE_KERNEL_PATH);
        }
    }

    #[inline(always)]
    fn target(&mut self, at: usize) {
        let target = self.request.name(at);
        let length = self.writer.kernel_string::<USER_PATH_BYTES>(target);
        self.body.extra_len = length.unwrap_or(0);
    }

    #[inline(always)]
    fn attribute(&mut self, at: usize) {
        let name = self.request.field(at);
        let length = self.writer.kernel_string::<XATTR_NAME_BYTES>(name);
        self.body.extra_len = length.unwrap_or(0);
    }

    #[inline(always)]
    fn location(&mut self, dirfd: i32, name: usize) -> Location {
        let name = self.request.name(name);
        locate_name(self.call, self.writer.position(), dirfd, name);
        self.writer.take_location(self.call)
    }

    /// The body with the lengths and marks of both locations.
    #[inline(always)]
    fn finished(&self) -> FileBody {
        FileBody {
            marks: self.body.marks | self.first.marks | self.second.second_marks(),
            base_len: self.first.base_len,
            path_len: self.first.path_len,
            omitted: self.first.omitted,
            omitted2: self.second.omitted,
            base2_len: self.second.base_len,
            path2_len: self.second.path_len,
            ..self.body
        }
    }
}

global! {
    /// Emits the announcement of a file request, before it runs.
    pub(crate) fn announce(call: &Call, kiocb: Kiocb, opcode: u32, token: u64) {
        let request = Request { kiocb, opcode };
        let writer = Writer::begin::<FileBody>(call.scratch);
        let body = writer.body::<FileBody>();
        let mut announcement = Announcement {
            writer,
            call,
            request,
            body: FileBody {
                via: VIA_URING,
                marks: FILE_PENDING,
                token,
                ..FileBody::default()
            },
            first: Location::default(),
            second: Location::default(),
        };
        announcement.fill();
        let mut asked = announcement.finished();
        let skips = request.kiocb.flags() & SKIPS_COMPLETION != 0;
        if skips {
            // A success posts no completion, so the announcement is the whole record.
            asked.marks &= !FILE_PENDING;
        }
        let op = asked.op;
        // SAFETY: `begin` left room for the body.
        unsafe { *body = asked };
        file_exit::send_operation(call, announcement.writer.position(), u32::from(op));
        // No completion reports the success. Where a hook refuses, the hook counts the delete.
        if skips && op == Op::Delete as u8 && !criteria::refuses(FILE_REMOVED) {
            criteria::count(FILE_REMOVED, call.tag.session, 0, 0);
        }
    }
}

global! {
    /// Appends a location with the kernel's copy of a path; its result is `scratch.location`.
    fn locate_name(call: &Call, at: u64, dirfd: i32, name: u64) {
        let mut writer = Writer::resume(call.scratch, at);
        let location =
            location::append_location(&mut writer, call.task, dirfd, read(name, 0), |writer| {
                writer.kernel_string::<USER_PATH_BYTES>(name)
            });
        call.leave(location, writer.position());
    }
}
