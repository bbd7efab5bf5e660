//! What is done to other processes, and to the kernel's programs.

use crate::pod::pod;

/// What is done to another process, as `ControlOp` in record.proto numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ControlOp {
    /// kill(2) and its kin.
    Signal = 1,
    /// ptrace(2) that attaches, and process_vm_writev(2).
    Ptrace = 2,
    /// bpf(2).
    Bpf = 3,
    /// prlimit(2) that sets limits of another process.
    Limit = 4,
    /// pidfd_getfd(2).
    Descriptor = 5,
}

/// The caller is in a pid namespace of its own: `target` is that one's number.
pub const CONTROL_NESTED: u32 = 1;

/// Body of [`Kind::Control`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ControlBody {
    /// [`ControlOp`].
    pub op: u32,
    /// The signal, the request of ptrace(2), the command of bpf(2), the
    /// resource of prlimit(2), or the descriptor of pidfd_getfd(2).
    pub command: u32,
    /// The process, thread or group as the call takes it; 0 where there is none or it is not known.
    pub target: i32,
    /// errno, 0 for success.
    pub error: u32,
    /// `CONTROL_…`.
    pub marks: u32,
    /// None yet.
    pub spare: u32,
}

pod! { ControlBody = 24 }
