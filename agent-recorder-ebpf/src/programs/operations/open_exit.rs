//! Opens, as their exit shows them: a new descriptor's file is what was really
//! opened, whatever the path said.
//!
//! Not here: what an open can destroy (`guard::overwrite`).

use agent_recorder_abi::event::{FILE_FOLLOWS, FILE_KERNEL_PATH, FILE_SEEN, FileBody, Kind, Op};
use agent_recorder_abi::state::{SeenFile, Tag};
use agent_recorder_abi::syscall::{MARK_CREAT, MARK_HOW, NO_ARG, Spec};

use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::scratch::OpenedFile;
use crate::event::writer::Writer;
use crate::event::{dentry_walk, location};
use crate::kernel::compat::Task;
use crate::kernel::read::{offset, read_user};
use crate::kernel::types::{Fd, InodeIdentity};
use crate::kernel::uapi::{
    FMODE_CREATED, O_ACCMODE, O_CREAT, O_EXCL, O_NOFOLLOW, O_TMPFILE, O_TRUNC, O_WRONLY,
};
use crate::operations::file_exit;

/// An open with none of these leaves its file as it is.
const WRITES: u64 = O_ACCMODE | O_CREAT | O_TRUNC;
/// creat(2) is open(2) with these.
const CREAT_FLAGS: u64 = O_WRONLY | O_CREAT | O_TRUNC;
/// With both, a link as the last name is not followed (open(2)).
const EXCLUSIVE: u64 = O_CREAT | O_EXCL;

global! {
    /// open(2), openat(2), openat2(2), creat(2), open_by_handle_at(2).
    pub(crate) fn opened(call: &Call) {
        let spec = call.spec();
        let (flags, mode) = open_arguments(call, spec);
        if call.result >= 0 {
            opened_descriptor(call, flags, mode, 0);
            return;
        }
        let mut writer = Writer::begin::<FileBody>(call.scratch);
        let location = if spec.path == NO_ARG {
            location::append_descriptor(&mut writer, call.task, call.fd_argument(spec.dirfd)).0
        } else {
            location::append_user_location(
                &mut writer,
                call,
                call.optional(spec.dirfd),
                call.argument(spec.path),
            )
        };
        let follows = if flags & O_NOFOLLOW == 0 && flags & EXCLUSIVE != EXCLUSIVE {
            FILE_FOLLOWS
        } else {
            0
        };
        // SAFETY: `begin` left room for it.
        unsafe {
            *writer.body::<FileBody>() = FileBody {
                op: Op::Open as u8,
                via: call.via,
                marks: location.marks | follows,
                error: call.error(),
                flags,
                mode: mode_given(flags, mode),
                base_len: location.base_len,
                path_len: location.path_len,
                omitted: location.omitted,
                ..FileBody::default()
            };
        }
        writer.header(Kind::Open, call.tag);
        writer.submit(Kind::Open, false);
    }
}

/// Without O_CREAT or O_TMPFILE, the argument is whatever the register holds (open(2)).
#[inline(always)]
fn mode_given(flags: u64, mode: u32) -> u32 {
    if flags & (O_TMPFILE | O_CREAT) != 0 {
        mode
    } else {
        0
    }
}

#[inline(always)]
fn open_arguments(call: &Call, spec: Spec) -> (u64, u32) {
    if spec.marks & MARK_CREAT != 0 {
        return (CREAT_FLAGS, call.argument(spec.mode) as u32);
    }
    if spec.marks & MARK_HOW != 0 {
        // struct open_how: flags, mode, resolve, 64 bits each on every ABI.
        let how = call.argument(spec.flags);
        return (read_user(how), read_user::<u64>(how + 8) as u32);
    }
    let flags = u64::from(call.argument(spec.flags) as u32);
    (flags, call.optional(spec.mode).unwrap_or(0) as u32)
}

global! {
    /// A new descriptor: its file is what was really opened, whatever the path said.
    pub(crate) fn opened_descriptor(call: &Call, flags: u64, mode: u32, token: u64) {
        let file = Fd::of(call.result as u64).file(call.task);
        let inode = file.inode().identity();
        let created = file.mode() & FMODE_CREATED != 0
            || flags & O_TMPFILE == O_TMPFILE;
        let reads_only = flags & WRITES == 0;
        // SAFETY: `call.scratch` is a map value.
        unsafe {
            (*call.scratch).opened = OpenedFile {
                file,
                flags,
                created: u64::from(created),
            };
        }
        let mut writer = Writer::begin::<FileBody>(call.scratch);
        if reads_only && !created && seen_before(call.tag, call.task, inode) {
            // An open that was announced must be taken back.
            if token != 0 {
                file_exit::send_result(
                    writer,
                    call,
                    FileBody {
                        marks: FILE_SEEN,
                        token,
                        ..FileBody::default()
                    },
                );
            }
            return;
        }
        let walked = dentry_walk::append(&mut writer, file.path());
        let op = if created { Op::Create } else { Op::Open };
        // SAFETY: `begin` left room for it.
        unsafe {
            *writer.body::<FileBody>() = FileBody {
                op: op as u8,
                via: call.via,
                token,
                marks: FILE_KERNEL_PATH | walked.mark(),
                flags,
                mode: mode_given(flags, mode),
                ino: inode.ino,
                dev: inode.dev,
                base_len: walked.len,
                omitted: walked.omitted,
                ..FileBody::default()
            };
        }
        let kind = match (token, created) {
            (0, true) => Kind::File,
            (0, false) => Kind::Open,
            _ => Kind::Uring,
        };
        writer.header(kind, call.tag);
        writer.submit(kind, false);
    }
}

/// Whether this program has opened this file for reading before; it has from now on.
#[inline(always)]
fn seen_before(tag: Tag, task: Task, inode: InodeIdentity) -> bool {
    let key = SeenFile {
        image: tag.image,
        ino: inode.ino,
        dev: inode.dev,
        // SAFETY: `task` is typed.
        pid: unsafe { crate::kernel::compat::walk(task, offset!(task_tgid)) },
        generation: inode.generation,
        spare: 0,
    };
    // SAFETY: only the key's presence is asked for.
    if unsafe { maps::SEEN.get(&key) }.is_some() {
        return true;
    }
    // LRU: fails only without memory, and then the next open is recorded once more.
    let _ = maps::SEEN.insert(&key, &1, 0);
    false
}
