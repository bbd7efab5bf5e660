//! File operations at their exit: where (one or two locations), how (flags,
//! mode …), and with which result.
//!
//! Not here: opens (`open_exit`), and what a security hook saw of the object before (`file_hook`).

use agent_recorder_abi::event::{FILE_EXTRA_CUT, FILE_FOLLOWS, FILE_OWNER, FileBody, Kind, Op};
use agent_recorder_abi::limits::{USER_PATH_BYTES, XATTR_NAME_BYTES};
use agent_recorder_abi::syscall::{
    MARK_AT_FOLLOW, MARK_AT_NOFOLLOW, MARK_FOLLOWS, MARK_LENGTH_AT, MARK_LENGTH_PAIR, MARK_OWNER16,
    MARK_REMOVEDIR, NO_ARG, Spec,
};

use crate::context::call::{Call, global};
use crate::context::operation::OperationKey;
use crate::context::scratch::Location;
use crate::event::location;
use crate::event::writer::Writer;
use crate::guard::{overwrite, post_op, unmount};
use crate::kernel::read::{hooks, read_user};
use crate::kernel::uapi::{AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_SYMLINK_NOFOLLOW};

/// The result of an announced operation that needs no path of its own.
#[inline(always)]
pub(crate) fn send_result(writer: Writer, call: &Call, body: FileBody) {
    // SAFETY: the writer was begun with room for it.
    unsafe { *writer.body::<FileBody>() = body };
    writer.header(Kind::Uring, call.tag);
    writer.submit(Kind::Uring, false);
}

global! {
    /// Emits a file operation other than an open, as its row of the table describes it.
    pub(crate) fn operated(call: &Call) {
        let spec = call.spec();
        let flags = call.optional(spec.flags).unwrap_or(0);
        let flags = if call.compat {
            flags & 0xffff_ffff
        } else {
            flags
        };
        let mut writer = Writer::begin::<FileBody>(call.scratch);
        let op = op_of(spec, flags);
        let (uid, gid, owner) = owner_of(call, spec);
        // SAFETY: `begin` left room for it.
        unsafe {
            *writer.body::<FileBody>() = FileBody {
                op,
                via: call.via,
                marks: follow_marks(spec, flags) | owner,
                error: call.error(),
                flags,
                length: length_of(call, spec),
                mode: call.optional(spec.mode).unwrap_or(0) as u32,
                uid,
                gid,
                ..FileBody::default()
            };
        }
        call.leave(Location::default(), writer.position());
        place_first(call);
        place_rest(call);
        writer.take_location(call);
        send_operation(call, writer.position(), u32::from(op));
    }
}

/// Reports to the guard that the operation is over. It runs after `operated`,
/// whose stack has no room for it.
#[inline(always)]
pub(crate) fn settled(call: &Call) {
    let spec = call.spec();
    let op = op_of(spec, call.optional(spec.flags).unwrap_or(0));
    let succeeded = u32::from(call.result >= 0);
    if Op::is_of_names(op) {
        post_op::settle(call, OperationKey::of_thread(), u32::from(op), succeeded);
    } else if succeeded != 0 && op == Op::Truncate as u8 {
        overwrite::shortened(call);
    } else if succeeded != 0 && (op == Op::Mount as u8 || op == Op::Umount as u8) {
        unmount::settle_mount(call, u32::from(op));
    }
}

/// The row of unlinkat(2) is of two operations.
#[inline(always)]
fn op_of(spec: Spec, flags: u64) -> u8 {
    if spec.marks & MARK_REMOVEDIR != 0 && flags & AT_REMOVEDIR != 0 {
        Op::Rmdir as u8
    } else {
        spec.op
    }
}

global! {
    /// Appends the first location of the event that is put together.
    fn place_first(call: &Call) {
        let spec = call.spec();
        let mut writer = Writer::resume(call.scratch, 0);
        writer.take_location(call);
        let body = writer.body::<FileBody>();
        // SAFETY: the event was begun with this body.
        let follows = unsafe { (*body).marks } & FILE_FOLLOWS != 0;
        let first = if spec.op == Op::Chdir as u8 && call.result >= 0 {
            location::append_working_directory(&mut writer, call.task)
        } else if spec.path == NO_ARG {
            let (location, file) =
                location::append_descriptor(&mut writer, call.task, call.fd_argument(spec.dirfd));
            if !file.is_none() {
                let inode = file.inode().identity();
                // SAFETY: the event was begun with this body.
                unsafe {
                    (*body).ino = inode.ino;
                    (*body).dev = inode.dev;
                }
            }
            location
        } else {
            let (dirfd, path) = (call.optional(spec.dirfd), call.argument(spec.path));
            if follows {
                location::append_followed_location(&mut writer, call, dirfd, path)
            } else {
                location::append_user_location(&mut writer, call, dirfd, path)
            }
        };
        // SAFETY: the event was begun with this body.
        unsafe {
            (*body).marks |= first.marks;
            (*body).base_len = first.base_len;
            (*body).path_len = first.path_len;
            (*body).omitted = first.omitted;
        }
        call.leave(Location::default(), writer.position());
    }
}

global! {
    /// Appends what follows the first location.
    fn place_rest(call: &Call) {
        let spec = call.spec();
        let mut writer = Writer::resume(call.scratch, 0);
        writer.take_location(call);
        let body = writer.body::<FileBody>();
        if spec.path2 != NO_ARG {
            let (dirfd, path) = (call.optional(spec.dirfd2), call.argument(spec.path2));
            let second = location::append_user_location(&mut writer, call, dirfd, path);
            // SAFETY: the event was begun with this body.
            unsafe {
                (*body).marks |= second.second_marks();
                (*body).base2_len = second.base_len;
                (*body).path2_len = second.path_len;
                (*body).omitted2 = second.omitted;
            }
        }
        if spec.op == Op::Rename as u8 && call.result >= 0 && hooks().touch != 0 {
            let replaced = post_op::replaced_by_rename(OperationKey::of_thread()) as u16;
            // SAFETY: the event was begun with this body.
            unsafe { (*body).replaced = replaced };
        }
        let (extra_len, extra_mark) = append_extra(&mut writer, call, spec);
        // SAFETY: the event was begun with this body.
        unsafe {
            (*body).marks |= extra_mark;
            (*body).extra_len = extra_len;
        }
        call.leave(Location::default(), writer.position());
    }
}

global! {
    /// Sends the event, which ends at `end`, by the kind of its operation.
    pub(crate) fn send_operation(call: &Call, end: u64, op: u32) {
        let writer = Writer::resume(call.scratch, end);
        if op != Op::Delete as u32 && op != Op::Rmdir as u32 {
            writer.header(Kind::File, call.tag);
            writer.submit(Kind::File, false);
            return;
        }
        writer.header(Kind::Delete, call.tag);
        writer.submit(Kind::Delete, false);
    }
}

/// The length of what was appended, and its mark.
#[inline(always)]
fn append_extra(writer: &mut Writer, call: &Call, spec: Spec) -> (u16, u16) {
    if spec.extra == NO_ARG {
        return (0, 0);
    }
    let address = call.argument(spec.extra);
    let (length, limit) = if spec.op == Op::Xattr as u8 {
        let name = writer.user_string::<XATTR_NAME_BYTES>(address);
        (name, XATTR_NAME_BYTES)
    } else {
        let path = writer.user_string::<USER_PATH_BYTES>(address);
        (path, USER_PATH_BYTES)
    };
    let length = length.unwrap_or(0);
    let is_cut = length as usize == limit - 1;
    (length, if is_cut { FILE_EXTRA_CUT } else { 0 })
}

#[inline(always)]
fn follow_marks(spec: Spec, flags: u64) -> u16 {
    let mut marks = 0;
    if spec.marks & MARK_FOLLOWS != 0
        && !(spec.marks & MARK_AT_NOFOLLOW != 0 && flags & AT_SYMLINK_NOFOLLOW != 0)
    {
        marks |= FILE_FOLLOWS;
    }
    if spec.marks & MARK_AT_FOLLOW != 0 && flags & AT_SYMLINK_FOLLOW != 0 {
        marks |= FILE_FOLLOWS;
    }
    marks
}

#[inline(always)]
fn owner_of(call: &Call, spec: Spec) -> (u32, u32, u16) {
    if spec.uid == NO_ARG {
        return (0, 0, 0);
    }
    let (uid, gid) = (
        call.argument(spec.uid) as u32,
        call.argument(spec.gid) as u32,
    );
    if spec.marks & MARK_OWNER16 == 0 {
        return (uid, gid, FILE_OWNER);
    }
    // (uid16_t)-1 leaves an owner too (low2highuid, include/linux/highuid.h).
    let widen = |id: u32| {
        if id & 0xffff == 0xffff {
            u32::MAX
        } else {
            id & 0xffff
        }
    };
    (widen(uid), widen(gid), FILE_OWNER)
}

#[inline(always)]
fn length_of(call: &Call, spec: Spec) -> u64 {
    if spec.length == NO_ARG {
        return 0;
    }
    let low = call.argument(spec.length);
    if spec.marks & MARK_LENGTH_AT != 0 {
        return read_user(low);
    }
    if spec.marks & MARK_LENGTH_PAIR != 0 {
        return low | (call.argument(spec.length + 1) << 32);
    }
    low
}
