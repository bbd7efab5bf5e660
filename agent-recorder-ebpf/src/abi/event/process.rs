//! A session's beginning, and its processes: exec, fork, exit.

use crate::pod::pod;

/// Body of [`Kind::Session`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionBody {
    /// Number of the matching rule, from 1.
    pub rule: u32,
    /// Always 0.
    pub spare: u32,
}

/// The arguments were cut.
pub const EXEC_ARGV_CUT: u32 = 1;
/// The program's file has no name: it is a memfd, or was unlinked.
pub const EXEC_FILELESS: u32 = 2;
/// The filename was cut, and the segment has its beginning.
pub const EXEC_FILENAME_CUT: u32 = 4;

/// Body of [`Kind::Exec`]. Segments: exe (walked), filename, cwd (walked), argv (each argument ended by a NUL).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecBody {
    /// errno, 0 for success.
    pub error: u32,
    /// `EXEC_…`.
    pub flags: u32,
    /// Number of a matching rule, from 1; 0 for none.
    pub rule: u32,
    /// `s_dev` of the program's file.
    pub dev: u32,
    /// Inode number of the program's file.
    pub ino: u64,
    /// Bytes of all arguments with their terminators, before any cut; 0 where unknown (a failed exec).
    pub argv_bytes: u64,
    /// Bytes that the exe's segment lacks, counted like `FileBody::omitted`; 0 where
    /// it is whole.
    pub exe_omitted: u32,
    /// Bytes that the cwd's segment lacks; 0 where it is whole.
    pub cwd_omitted: u32,
    /// Length of the exe's segment, bytes.
    pub exe_len: u16,
    /// Length of the filename's segment, bytes.
    pub filename_len: u16,
    /// Length of the cwd's segment, bytes.
    pub cwd_len: u16,
    /// Length of the argv's segment, bytes.
    pub argv_len: u16,
}

/// Body of [`Kind::Fork`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ForkBody {
    /// The child's `start_boottime`, ns.
    pub child_start_time: u64,
    /// The child's pid.
    pub child_pid: u32,
    /// The child's parent, which is the caller's parent with CLONE_PARENT.
    pub child_ppid: u32,
}

/// Body of [`Kind::Exit`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExitBody {
    /// Status in the encoding of wait(2).
    pub status: u32,
    /// Always 0.
    pub spare: u32,
}

pod! { SessionBody = 8, ExecBody = 48, ForkBody = 16, ExitBody = 8 }
