//! Acts on other processes, and on the kernel's programs.

use crate::pod::pod;

/// Acts on another process, with the numbers of `ControlOp` in record.proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ControlOp {
    /// kill(2) and related calls.
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

/// The caller is in a pid namespace of its own, and `target` is a number of that
/// namespace.
pub const CONTROL_NESTED: u32 = 1;

/// Body of [`Kind::Control`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ControlBody {
    /// [`ControlOp`].
    pub op: u32,
    /// The signal; or the request of ptrace(2), the command of bpf(2), the resource
    /// of prlimit(2), or the descriptor of pidfd_getfd(2).
    pub command: u32,
    /// The process, thread or group as the call takes it; 0 where there is none, or
    /// it is unknown.
    pub target: i32,
    /// errno, 0 for success.
    pub error: u32,
    /// `CONTROL_…`.
    pub marks: u32,
    /// Always 0.
    pub spare: u32,
}

pod! { ControlBody = 24 }
