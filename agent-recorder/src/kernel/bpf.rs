//! The few bpf(2) commands that aya 0.14 has no call for: elements of
//! task storage (by pidfd), and how often a program was skipped.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use agent_recorder_abi::Pod;

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

fn element<K: Pod, V: Pod>(
    command: libc::c_long,
    map: BorrowedFd<'_>,
    key: K,
    value: Option<&mut V>,
) -> io::Result<()> {
    let mut attributes = ElementAttributes {
        map_fd: map.as_raw_fd().cast_unsigned(),
        spare: 0,
        key: (&raw const key) as u64,
        value: value.map_or(0, |value| (&raw mut *value) as u64),
        flags: 0,
    };
    // SAFETY: the attributes live through the call; key and value have the sizes that the map was made with, as the callers see to.
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

/// An element of a map with keys `K` and values `V`, `None` where there is none.
pub(super) fn look_up<K: Pod, V: Pod + Default>(
    map: BorrowedFd<'_>,
    key: K,
) -> io::Result<Option<V>> {
    let mut value = V::default();
    match element(LOOKUP, map, key, Some(&mut value)) {
        Ok(()) => Ok(Some(value)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sets one.
pub(super) fn update<K: Pod, V: Pod>(map: BorrowedFd<'_>, key: K, mut value: V) -> io::Result<()> {
    element(UPDATE, map, key, Some(&mut value))
}

/// Takes one away, if it is there.
pub(super) fn delete<K: Pod>(map: BorrowedFd<'_>, key: K) -> io::Result<()> {
    match element::<K, u8>(DELETE, map, key, None) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result,
    }
}

/// `BPF_OBJ_GET_INFO_BY_FD`.
const INFO: libc::c_long = 15;

/// `union bpf_attr` for it.
#[repr(C)]
struct InfoAttributes {
    fd: u32,
    length: u32,
    info: u64,
}

/// `struct bpf_prog_info` up to `recursion_misses` (5.12), in 64-bit words.
const INFO_WORDS: usize = 27;
const RECURSION_MISSES: usize = 26;

/// How often the kernel skipped a program because it was under way on that CPU
/// already, in a task that was preempted in it. 0 from kernels that do not count.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> io::Result<u64> {
    let mut info = [0u64; INFO_WORDS];
    let mut attributes = InfoAttributes {
        fd: program.as_raw_fd().cast_unsigned(),
        length: size_of_val(&info) as u32,
        info: info.as_mut_ptr() as u64,
    };
    // SAFETY: the attributes live through the call, and `info` has the length that they say.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            INFO,
            &raw mut attributes,
            size_of::<InfoAttributes>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(info[RECURSION_MISSES])
    }
}
