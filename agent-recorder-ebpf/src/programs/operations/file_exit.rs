//! File operations: where (one or two locations), how (flags, mode …), and with which result.

use agent_recorder_abi::event::{
    FILE_DESCRIPTOR, FILE_FOLLOWS, FILE_FOLLOWS_SECOND, FILE_KERNEL_PATH, FILE_OWNER,
    FILE_PATH_CUT, FILE_PATH_UNREADABLE, FILE_SEEN, FileBody, Kind, Op,
};
use agent_recorder_abi::limits::{USER_PATH_BYTES, XATTR_NAME_BYTES};
use agent_recorder_abi::state::{SeenFile, Tag};
use agent_recorder_abi::syscall::{
    MARK_AT_FOLLOW, MARK_AT_NOFOLLOW, MARK_CREAT, MARK_EXTRA_PATH, MARK_FOLLOWS, MARK_HOW,
    MARK_LENGTH_AT, MARK_LENGTH_PAIR, MARK_OWNER16, MARK_REMOVEDIR, NO_ARG, Spec,
};

use crate::context::call::{Call, global};
use crate::context::maps;
use crate::event::dentry_walk::{self, KernelPath, Walked};
use crate::event::writer::Writer;
use crate::guard::overwrite;
use crate::guard::post_op;
use crate::guard::pre_op;
use crate::guard::unmount;
use crate::kernel::read::{Task, current, file_of, offset, read, read_user};

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_REMOVEDIR: u64 = 0x200;
const AT_SYMLINK_FOLLOW: u64 = 0x400;
/// O_ACCMODE, O_CREAT and O_TRUNC (include/uapi/asm-generic/fcntl.h); creat(2) is open(2) with the last two and O_WRONLY.
const O_WRITES: u64 = 0o3 | 0o100 | 0o1000;
const CREAT_FLAGS: u64 = 0o1 | 0o100 | 0o1000;
const O_CREAT: u64 = 0o100;
/// O_CREAT and O_EXCL: with both, a link as the last name is not followed (open(2)).
const O_EXCLUSIVE: u64 = O_CREAT | 0o200;
/// Kernel-internal O_TMPFILE without O_DIRECTORY.
const O_TMPFILE: u64 = 0o20000000;
const O_NOFOLLOW: u64 = 0o400000;
/// `FMODE_CREATED` (include/linux/fs.h, 5.0): this open made the file.
const FMODE_CREATED: u32 = 0x10_0000;

/// What `st_dev` and `st_ino` are made of, and which file of that number it is.
#[derive(Clone, Copy, Default)]
pub(crate) struct Inode {
    pub(crate) dev: u32,
    pub(crate) generation: u32,
    pub(crate) ino: u64,
}

/// Of an open file.
#[inline(always)]
pub(crate) fn inode_of(file: u64) -> Inode {
    let address: u64 = read(file, offset!(file_inode));
    Inode {
        dev: read(read(address, offset!(inode_sb)), offset!(sb_dev)),
        generation: read(address, offset!(inode_generation)),
        ino: read(address, offset!(inode_ino)),
    }
}

/// One location while it is appended.
#[derive(Clone, Copy, Default)]
pub(crate) struct Location {
    pub(crate) base_len: u16,
    pub(crate) path_len: u16,
    pub(crate) marks: u16,
    /// Of `dentry_walk::Walked`.
    pub(crate) omitted: u32,
}

impl Location {
    /// An object's own path, as it was walked.
    #[inline(always)]
    pub(crate) fn of(walked: Walked, marks: u16) -> Self {
        Self {
            base_len: walked.len,
            path_len: 0,
            marks: marks | walked.mark(),
            omitted: walked.omitted,
        }
    }
}

/// Where a relative path starts.
#[inline(always)]
pub(crate) fn base_of(task: Task, dirfd: i32) -> KernelPath {
    if dirfd == AT_FDCWD {
        return dentry_walk::working_directory(task);
    }
    let file = file_of(task, u64::from(dirfd as u32));
    if file == 0 {
        KernelPath {
            mount: 0,
            dentry: 0,
        }
    } else {
        dentry_walk::of_file(file)
    }
}

/// Appends base and path; which base is known only when the path's first byte is.
#[inline(always)]
pub(crate) fn append_location(
    writer: &mut Writer,
    task: Task,
    dirfd: i32,
    first: u8,
    string: impl FnOnce(&mut Writer) -> Option<u16>,
) -> Location {
    let base = if first == b'/' {
        dentry_walk::root_directory(task)
    } else {
        base_of(task, dirfd)
    };
    let mut location = Location::of(dentry_walk::append(writer, base), 0);
    match string(writer) {
        Some(length) => {
            location.path_len = length;
            if length as usize == USER_PATH_BYTES - 1 {
                location.marks |= FILE_PATH_CUT;
            }
        }
        None => location.marks |= FILE_PATH_UNREADABLE,
    }
    location
}

global! {
    /// A location in the caller's memory. In `scratch.location` afterwards.
    fn locate(call: &Call, at: u64, dirfd: i32, address: u64) {
        let mut writer = Writer::resume(call.scratch, at);
        let location =
            append_location(&mut writer, call.task, dirfd, read_user(address), |writer| {
                writer.user_string::<USER_PATH_BYTES>(address)
            });
        call.leave(location, writer.position());
    }
}

#[inline(always)]
fn append_user_location(
    writer: &mut Writer,
    call: &Call,
    dirfd: Option<u64>,
    address: u64,
) -> Location {
    let dirfd = dirfd.map_or(AT_FDCWD, |dirfd| dirfd as i32);
    locate(call, writer.position(), dirfd, address);
    call.take_location(writer)
}

/// `/proc/self/fd/`, as two words: the second with what two digits may follow.
const OWN_DESCRIPTOR: [u64; 2] = [
    u64::from_le_bytes(*b"/proc/se"),
    u64::from_le_bytes(*b"lf/fd/\0\0"),
];
const OWN_DESCRIPTOR_BYTES: u64 = 14;
/// Digits of a descriptor's number: of INT_MAX.
const DESCRIPTOR_DIGITS: u64 = 10;

/// The file of the descriptor that a `/proc/self/fd/N` names, 0 for any other
/// path. A global function (see `call`). C libraries reach so for what they have open by a call that knows
/// names only (fchmodat(3) with AT_SYMLINK_NOFOLLOW), programs for a file
/// without a name (open(2), O_TMPFILE): afterwards nobody can tell which it was.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn own_descriptor(address: u64) -> u64 {
    const PREFIX: u64 = (1 << (8 * (OWN_DESCRIPTOR_BYTES - 8))) - 1;
    if read_user::<u64>(address) != OWN_DESCRIPTOR[0]
        || read_user::<u64>(address + 8) & PREFIX != OWN_DESCRIPTOR[1]
    {
        return 0;
    }
    let mut number = 0_u64;
    let mut index = 0;
    while index <= DESCRIPTOR_DIGITS {
        let byte: u8 = read_user(address + OWN_DESCRIPTOR_BYTES + index);
        if byte == 0 && index > 0 {
            return file_of(current(), number);
        }
        if !byte.is_ascii_digit() {
            return 0;
        }
        number = number * 10 + u64::from(byte - b'0');
        index += 1;
    }
    0
}

/// A location that is followed to its end.
#[inline(always)]
fn append_followed_location(
    writer: &mut Writer,
    call: &Call,
    dirfd: Option<u64>,
    address: u64,
) -> Location {
    let file = own_descriptor(address);
    if file == 0 {
        return append_user_location(writer, call, dirfd, address);
    }
    let walked = dentry_walk::append(writer, dentry_walk::of_file(file));
    Location {
        path_len: writer.user_string::<USER_PATH_BYTES>(address).unwrap_or(0),
        ..Location::of(walked, FILE_DESCRIPTOR)
    }
}

/// A descriptor's own file as a location.
#[inline(always)]
fn append_descriptor(writer: &mut Writer, task: Task, fd: u64) -> (Location, u64) {
    let file = file_of(task, u64::from(fd as u32));
    if file == 0 {
        return (
            Location {
                marks: FILE_PATH_UNREADABLE,
                ..Location::default()
            },
            0,
        );
    }
    let walked = dentry_walk::append(writer, dentry_walk::of_file(file));
    (Location::of(walked, FILE_KERNEL_PATH), file)
}

/// Where chdir(2) led: a relative path would start there now, not where it was given.
#[inline(always)]
fn append_working_directory(writer: &mut Writer, task: Task) -> Location {
    Location::of(
        dentry_walk::append(writer, dentry_walk::working_directory(task)),
        FILE_KERNEL_PATH,
    )
}

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
            append_descriptor(&mut writer, call.task, call.argument(spec.dirfd)).0
        } else {
            append_user_location(
                &mut writer,
                call,
                call.optional(spec.dirfd),
                call.argument(spec.path),
            )
        };
        let follows = if flags & O_NOFOLLOW == 0 && flags & O_EXCLUSIVE != O_EXCLUSIVE {
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

/// Without a file to make, the argument is whatever the register holds (open(2)).
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
        let file = file_of(call.task, call.result as u64);
        let inode = inode_of(file);
        let created = read::<u32>(file, offset!(file_mode)) & FMODE_CREATED != 0
            || flags & O_TMPFILE == O_TMPFILE;
        let reads_only = flags & O_WRITES == 0;
        // SAFETY: a field of a map value.
        unsafe {
            (*call.scratch).opened = overwrite::Opened {
                file,
                flags,
                created: u64::from(created),
            };
        }
        let mut writer = Writer::begin::<FileBody>(call.scratch);
        if reads_only && !created && seen_before(call.tag, call.task, inode) {
            // An open that was announced must be taken back.
            if token != 0 {
                send_result(
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
        let walked = dentry_walk::append(&mut writer, dentry_walk::of_file(file));
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

/// The result of an announced operation that needs no path of its own.
#[inline(always)]
pub(crate) fn send_result(writer: Writer, call: &Call, body: FileBody) {
    // SAFETY: the writer was begun with room for it.
    unsafe { *writer.body::<FileBody>() = body };
    writer.header(Kind::Uring, call.tag);
    writer.submit(Kind::Uring, false);
}

/// Whether this program has opened this file for reading before; it has from now on.
#[inline(always)]
fn seen_before(tag: Tag, task: Task, inode: Inode) -> bool {
    let key = SeenFile {
        image: tag.image,
        ino: inode.ino,
        dev: inode.dev,
        // SAFETY: `task` is typed.
        pid: unsafe { crate::kernel::read::walk(task, offset!(task_tgid)) },
        generation: inode.generation,
        spare: 0,
    };
    // SAFETY: the value is not looked at.
    if unsafe { maps::SEEN.get(&key) }.is_some() {
        return true;
    }
    // LRU: fails only without memory, and then the next open is recorded once more.
    let _ = maps::SEEN.insert(&key, &1, 0);
    false
}

global! {
    /// Every other file operation, as its row of the table describes it.
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
        call.take_location(&mut writer);
        send_operation(call, writer.position(), u32::from(op));
    }
}

/// Tells the guard that it is over. Not from within `operated`, for there the
/// stack has no room.
#[inline(always)]
pub(crate) fn settled(call: &Call) {
    let spec = call.spec();
    let op = op_of(spec, call.optional(spec.flags).unwrap_or(0));
    let succeeded = u32::from(call.result >= 0);
    if Op::is_of_names(op) {
        post_op::settle(call, pre_op::of_thread(), u32::from(op), succeeded);
    } else if succeeded != 0 && op == Op::Truncate as u8 {
        overwrite::shortened(call);
    } else if succeeded != 0 && (op == Op::Mount as u8 || op == Op::Umount as u8) {
        unmount::settle_mount(call, u32::from(op));
    }
}

/// One row is of two operations: unlinkat(2).
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
        call.take_location(&mut writer);
        let body = writer.body::<FileBody>();
        // SAFETY: the event was begun with this body.
        let follows = unsafe { (*body).marks } & FILE_FOLLOWS != 0;
        let first = if spec.op == Op::Chdir as u8 && call.result >= 0 {
            append_working_directory(&mut writer, call.task)
        } else if spec.path == NO_ARG {
            let (location, file) =
                append_descriptor(&mut writer, call.task, call.argument(spec.dirfd));
            if file != 0 {
                let inode = inode_of(file);
                // SAFETY: as above.
                unsafe {
                    (*body).ino = inode.ino;
                    (*body).dev = inode.dev;
                }
            }
            location
        } else {
            let (dirfd, path) = (call.optional(spec.dirfd), call.argument(spec.path));
            if follows {
                append_followed_location(&mut writer, call, dirfd, path)
            } else {
                append_user_location(&mut writer, call, dirfd, path)
            }
        };
        // SAFETY: as above.
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
        call.take_location(&mut writer);
        let body = writer.body::<FileBody>();
        if spec.path2 != NO_ARG {
            let (dirfd, path) = (call.optional(spec.dirfd2), call.argument(spec.path2));
            let second = append_user_location(&mut writer, call, dirfd, path);
            // SAFETY: the event was begun with this body.
            unsafe {
                (*body).marks |= second.marks;
                (*body).base2_len = second.base_len;
                (*body).path2_len = second.path_len;
            }
        }
        let extra_len = append_extra(&mut writer, call, spec);
        // SAFETY: as above.
        unsafe { (*body).extra_len = extra_len };
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

#[inline(always)]
fn append_extra(writer: &mut Writer, call: &Call, spec: Spec) -> u16 {
    if spec.extra == NO_ARG {
        return 0;
    }
    let address = call.argument(spec.extra);
    let length = if spec.op == Op::Xattr as u8 {
        writer.user_string::<XATTR_NAME_BYTES>(address)
    } else {
        writer.user_string::<USER_PATH_BYTES>(address)
    };
    length.unwrap_or(0)
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
    if spec.op == Op::Mount as u8 && spec.marks & MARK_EXTRA_PATH == 0 {
        marks |= FILE_FOLLOWS_SECOND;
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
