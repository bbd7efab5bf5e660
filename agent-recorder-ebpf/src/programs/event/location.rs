//! Location of a file operation: a base, which the kernel walks, and the caller's path from there.
//!
//! Not here: which arguments of a call are a location (`operations::file_exit`).

use agent_recorder_abi::event::{
    FILE_DESCRIPTOR, FILE_KERNEL_PATH, FILE_PATH_CUT, FILE_PATH_UNREADABLE, FILE_SECOND_PATH_CUT,
    FILE_SECOND_WALK_CUT, FILE_WALK_CUT,
};
use agent_recorder_abi::limits::USER_PATH_BYTES;

use crate::context::call::{Call, global};
use crate::context::scratch::Location;
use crate::event::dentry_walk::{self, Walked};
use crate::event::writer::Writer;
use crate::kernel::compat::{Task, current};
use crate::kernel::read::read_user;
use crate::kernel::types::{Fd, File, KernelPath};
use crate::kernel::uapi::AT_FDCWD;

impl Location {
    /// Location of an object by its walked path.
    #[inline(always)]
    pub(crate) fn of(walked: Walked, marks: u16) -> Self {
        Self {
            base_len: walked.len,
            path_len: 0,
            marks: marks | walked.mark(),
            omitted: walked.omitted,
        }
    }

    /// Marks of this location when it is the second of an operation.
    #[inline(always)]
    pub(crate) fn second_marks(self) -> u16 {
        let mut marks = self.marks & FILE_PATH_UNREADABLE;
        if self.marks & FILE_WALK_CUT != 0 {
            marks |= FILE_SECOND_WALK_CUT;
        }
        if self.marks & FILE_PATH_CUT != 0 {
            marks |= FILE_SECOND_PATH_CUT;
        }
        marks
    }
}

/// Directory that a relative path starts from.
#[inline(always)]
pub(crate) fn base_of(task: Task, dirfd: i32) -> KernelPath {
    if dirfd == AT_FDCWD {
        return KernelPath::working_directory(task);
    }
    let file = Fd::of_argument(dirfd as u64).file(task);
    if file.is_none() {
        KernelPath::NONE
    } else {
        file.path()
    }
}

/// Whether a caller's path of `length` bytes was cut.
#[inline(always)]
pub(crate) fn is_cut_path(length: u16) -> bool {
    length as usize == USER_PATH_BYTES - 1
}

/// Appends base and path. The path's first byte decides which base applies.
#[inline(always)]
pub(crate) fn append_location(
    writer: &mut Writer,
    task: Task,
    dirfd: i32,
    first: u8,
    string: impl FnOnce(&mut Writer) -> Option<u16>,
) -> Location {
    let base = if first == b'/' {
        KernelPath::root_directory(task)
    } else {
        base_of(task, dirfd)
    };
    let mut location = Location::of(dentry_walk::append(writer, base), 0);
    match string(writer) {
        Some(length) => {
            location.path_len = length;
            if is_cut_path(length) {
                location.marks |= FILE_PATH_CUT;
            }
        }
        None => location.marks |= FILE_PATH_UNREADABLE,
    }
    location
}

global! {
    /// Appends a location from the caller's memory; its result is `scratch.location`.
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
pub(crate) fn append_user_location(
    writer: &mut Writer,
    call: &Call,
    dirfd: Option<u64>,
    address: u64,
) -> Location {
    let dirfd = dirfd.map_or(AT_FDCWD, |dirfd| dirfd as i32);
    locate(call, writer.position(), dirfd, address);
    writer.take_location(call)
}

/// `/proc/self/fd/` as two words; the last two bytes belong to the descriptor's digits.
const OWN_DESCRIPTOR: [u64; 2] = [
    u64::from_le_bytes(*b"/proc/se"),
    u64::from_le_bytes(*b"lf/fd/\0\0"),
];

const OWN_DESCRIPTOR_BYTES: u64 = 14;
/// Digits of INT_MAX, the largest descriptor.
const DESCRIPTOR_DIGITS: u64 = 10;

global! {
    /// The file of descriptor N for `/proc/self/fd/N`, none for any other path. C libraries apply
    /// calls on names to open files by such paths (fchmodat(3) with AT_SYMLINK_NOFOLLOW), programs
    /// name files of O_TMPFILE (open(2)) by them. User space cannot resolve them later.
    fn own_descriptor(address: u64) -> File {
        const PREFIX: u64 = (1 << (8 * (OWN_DESCRIPTOR_BYTES - 8))) - 1;
        if read_user::<u64>(address) != OWN_DESCRIPTOR[0]
            || read_user::<u64>(address + 8) & PREFIX != OWN_DESCRIPTOR[1]
        {
            return File::NONE;
        }
        let mut number = 0_u64;
        let mut index = 0;
        while index <= DESCRIPTOR_DIGITS {
            let byte: u8 = read_user(address + OWN_DESCRIPTOR_BYTES + index);
            if byte == 0 && index > 0 {
                return Fd::of(number).file(current());
            }
            if !byte.is_ascii_digit() {
                return File::NONE;
            }
            number = number * 10 + u64::from(byte - b'0');
            index += 1;
        }
        File::NONE
    }
}

/// Appends a location whose last component is followed.
#[inline(always)]
pub(crate) fn append_followed_location(
    writer: &mut Writer,
    call: &Call,
    dirfd: Option<u64>,
    address: u64,
) -> Location {
    let file = own_descriptor(address);
    if file.is_none() {
        return append_user_location(writer, call, dirfd, address);
    }
    let walked = dentry_walk::append(writer, file.path());
    Location {
        path_len: writer.user_string::<USER_PATH_BYTES>(address).unwrap_or(0),
        ..Location::of(walked, FILE_DESCRIPTOR)
    }
}

#[inline(always)]
pub(crate) fn append_descriptor(writer: &mut Writer, task: Task, fd: Fd) -> (Location, File) {
    let file = fd.file(task);
    if file.is_none() {
        return (
            Location {
                marks: FILE_PATH_UNREADABLE,
                ..Location::default()
            },
            File::NONE,
        );
    }
    let walked = dentry_walk::append(writer, file.path());
    (Location::of(walked, FILE_KERNEL_PATH), file)
}

/// Appends where chdir(2) led: a relative path would start there now.
#[inline(always)]
pub(crate) fn append_working_directory(writer: &mut Writer, task: Task) -> Location {
    Location::of(
        dentry_walk::append(writer, KernelPath::working_directory(task)),
        FILE_KERNEL_PATH,
    )
}
