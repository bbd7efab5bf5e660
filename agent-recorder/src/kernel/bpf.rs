//! The few bpf(2) commands that aya 0.14 has no call for: task storage, by pidfd.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use agent_recorder_abi::state::Tag;

/// `BPF_MAP_LOOKUP_ELEM` and its kin (enum bpf_cmd, include/uapi/linux/bpf.h).
const LOOKUP: libc::c_long = 1;
const UPDATE: libc::c_long = 2;
const DELETE: libc::c_long = 3;

/// `union bpf_attr` for element commands.
#[repr(C)]
struct ElementAttributes {
    map_fd: u32,
    spare: u32,
    key: u64,
    value: u64,
    flags: u64,
}

fn element(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    task: BorrowedFd<'_>,
    value: *mut Tag,
) -> io::Result<()> {
    let key = task.as_raw_fd();
    let mut attributes = ElementAttributes {
        map_fd: map.as_raw_fd().cast_unsigned(),
        spare: 0,
        key: (&raw const key) as u64,
        value: value as u64,
        flags: 0,
    };
    // SAFETY: the attributes live through the call; key points to a descriptor and value to a Tag, the sizes that the map was made with.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            &raw mut attributes,
            size_of::<ElementAttributes>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The task's tag, `None` where it has none.
pub(super) fn task_tag(map: BorrowedFd<'_>, task: BorrowedFd<'_>) -> io::Result<Option<Tag>> {
    let mut tag = Tag::default();
    match element(LOOKUP, map, task, &raw mut tag) {
        Ok(()) => Ok((tag.session != 0).then_some(tag)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives the task a tag.
pub(super) fn set_task_tag(
    map: BorrowedFd<'_>,
    task: BorrowedFd<'_>,
    mut tag: Tag,
) -> io::Result<()> {
    element(UPDATE, map, task, &raw mut tag)
}

/// Takes it away.
pub(super) fn clear_task_tag(map: BorrowedFd<'_>, task: BorrowedFd<'_>) -> io::Result<()> {
    match element(DELETE, map, task, std::ptr::null_mut()) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}
