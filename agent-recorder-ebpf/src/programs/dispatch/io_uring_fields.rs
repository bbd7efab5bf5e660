//! Where a request of io_uring keeps what it asks for, by its opcode, and the
//! event that announces it.
//!
//! Not here: when a request is looked at (`io_uring`).

use agent_recorder_abi::event::{FILE_PENDING, FileBody, Op, VIA_URING};
use agent_recorder_abi::kernel_fields::ABSENT;
use agent_recorder_abi::limits::{USER_PATH_BYTES, XATTR_NAME_BYTES};

use crate::context::call::{Call, global};
use crate::context::scratch::Location;
use crate::event::writer::Writer;
use crate::event::{dentry_walk, location};
use crate::guard::budget;
use crate::kernel::read::{hooks, offset, read};
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
    /// Those that can put bytes into a socket: writev, write_fixed, sendmsg, write, send, send_zc, sendmsg_zc.
    pub(crate) const SENDING: [u32; 7] = [2, 5, 9, 23, 26, 47, 48];
}

/// `REQ_F_CQE_SKIP` (include/linux/io_uring_types.h): success makes no completion.
const SKIPS_COMPLETION: u64 = 1 << 6;

/// The result in a completion.
#[inline(always)]
pub(crate) fn result_of(completion: *const u8) -> i32 {
    read(completion as u64, offset!(cqe_res))
}

/// A request as the programs look at it.
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

    /// Without O_LARGEFILE, which io_uring adds to every open (`force_o_largefile()`): nobody asked for it.
    #[inline(always)]
    pub(crate) fn open_flags(self) -> u64 {
        self.field::<u64>(offset!(io_open_flags)) & !O_LARGEFILE
    }

    /// The kernel's copy of a path (`struct filename`).
    #[inline(always)]
    fn name(self, offset: usize) -> u64 {
        read(self.field(offset), offset!(filename_name))
    }
}

global! {
    /// What a file request asks for, before it runs.
    pub(crate) fn announce(call: &Call, kiocb: Kiocb, opcode: u32, token: u64) {
        let request = Request { kiocb, opcode };
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
                let is_rmdir = asked.flags & AT_REMOVEDIR != 0;
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
        asked.marks |= first.marks | second.second_marks();
        asked.base_len = first.base_len;
        asked.path_len = first.path_len;
        asked.omitted = first.omitted;
        asked.omitted2 = second.omitted;
        asked.base2_len = second.base_len;
        asked.path2_len = second.path_len;
        asked.extra_len = extra_len;
        let skips = request.kiocb.flags() & SKIPS_COMPLETION != 0;
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
            location::append_location(&mut writer, call.task, dirfd, read(name, 0), |writer| {
                writer.kernel_string::<USER_PATH_BYTES>(name)
            });
        call.leave(location, writer.position());
    }
}

#[inline(always)]
fn location(writer: &mut Writer, call: &Call, dirfd: i32, name: u64) -> Location {
    locate_name(call, writer.position(), dirfd, name);
    writer.take_location(call)
}

#[inline(always)]
fn own_file(writer: &mut Writer, call: &Call, request: Request) -> Location {
    let file = request.kiocb.file(call.task);
    if file.is_none() {
        return Location::default();
    }
    let walked = dentry_walk::append(writer, file.path());
    Location::of(walked, agent_recorder_abi::event::FILE_KERNEL_PATH)
}

/// What a request does to names; none for all others.
#[inline(always)]
pub(crate) fn op_of(opcode: u32, flags: u64) -> u8 {
    let op = match opcode {
        opcode::UNLINKAT if flags & AT_REMOVEDIR != 0 => Op::Rmdir,
        opcode::UNLINKAT => Op::Delete,
        opcode::RENAMEAT => Op::Rename,
        opcode::MKDIRAT => Op::Mkdir,
        opcode::SYMLINKAT => Op::Symlink,
        _ => Op::None,
    };
    op as u8
}
