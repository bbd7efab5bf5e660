//! Where a file operation takes place: a base, which the kernel has, and a path
//! that was given from there.
//!
//! Not here: which argument of a call is which (`operations::file_exit`).

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

    /// Its marks, where it is an operation's second one.
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

/// Where a relative path starts.
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

/// Whether a caller's path of this many bytes was cut.
#[inline(always)]
pub(crate) fn is_cut_path(length: u16) -> bool {
    length as usize == USER_PATH_BYTES - 1
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

/// `/proc/self/fd/`, as two words: the second with what two digits may follow.
const OWN_DESCRIPTOR: [u64; 2] = [
    u64::from_le_bytes(*b"/proc/se"),
    u64::from_le_bytes(*b"lf/fd/\0\0"),
];

const OWN_DESCRIPTOR_BYTES: u64 = 14;
/// Digits of a descriptor's number: of INT_MAX.
const DESCRIPTOR_DIGITS: u64 = 10;

global! {
    /// The file of the descriptor that a `/proc/self/fd/N` names, none for any other
    /// path. C libraries reach so for what they have open by a call that knows
    /// names only (fchmodat(3) with AT_SYMLINK_NOFOLLOW), programs for a file
    /// without a name (open(2), O_TMPFILE): afterwards nobody can tell which it was.
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

/// A location that is followed to its end.
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

/// A descriptor's own file as a location.
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

/// Where chdir(2) led: a relative path would start there now, not where it was given.
#[inline(always)]
pub(crate) fn append_working_directory(writer: &mut Writer, task: Task) -> Location {
    Location::of(
        dentry_walk::append(writer, KernelPath::working_directory(task)),
        FILE_KERNEL_PATH,
    )
}
