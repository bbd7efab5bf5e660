//! A session's beginning, and its processes: exec, fork, exit.

use crate::pod::pod;

/// Body of [`Kind::Session`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SessionBody {
    /// The rule that matched, from 1.
    pub rule: u32,
    /// None yet.
    pub spare: u32,
}

/// The argv was cut.
pub const EXEC_ARGV_CUT: u32 = 1;
/// The program's file has no name: a memfd, or unlinked.
pub const EXEC_FILELESS: u32 = 2;
/// The filename was cut: what is kept is its beginning.
pub const EXEC_FILENAME_CUT: u32 = 4;

/// Body of [`Kind::Exec`]. Segments: exe (walked), filename, cwd (walked), argv (each argument ended by a NUL).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecBody {
    /// errno, 0 for success.
    pub error: u32,
    /// `EXEC_…`.
    pub flags: u32,
    /// A rule that it matches, from 1; 0 for none.
    pub rule: u32,
    /// `s_dev` of the program's file.
    pub dev: u32,
    /// Its inode number.
    pub ino: u64,
    /// Bytes of all arguments with their terminators, before any cut; 0 where unknown (a failed exec).
    pub argv_bytes: u64,
    /// Bytes that the exe's segment lacks, 0 where it is whole: as `FileBody::omitted`.
    pub exe_omitted: u32,
    /// Bytes that the cwd's segment lacks.
    pub cwd_omitted: u32,
    /// Length of the segment.
    pub exe_len: u16,
    /// Length of the segment.
    pub filename_len: u16,
    /// Length of the segment.
    pub cwd_len: u16,
    /// Length of the segment.
    pub argv_len: u16,
}

/// Body of [`Kind::Fork`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ForkBody {
    /// The child's `start_boottime`, ns.
    pub child_start_time: u64,
    /// Its pid.
    pub child_pid: u32,
    /// Its parent: not the caller with CLONE_PARENT.
    pub child_ppid: u32,
}

/// Body of [`Kind::Exit`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ExitBody {
    /// As wait(2) gives it.
    pub status: u32,
    /// None yet.
    pub spare: u32,
}

pod! { SessionBody = 8, ExecBody = 48, ForkBody = 16, ExitBody = 8 }
