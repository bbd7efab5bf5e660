//! The kernel's objects by their addresses: one type each, with methods that read its fields at the
//! offsets of the running kernel.
//!
//! Methods read through bpf_probe_read_kernel, which gives zero where the read fails: a method of
//! an absent object returns none, zero or false. Where two kernels have a field in different
//! places, one method knows both.
//!
//! Not here: `Task`, whose type the verifier knows (`compat`).

mod file;
mod inode;
mod object;
mod path;
mod socket;
mod task;

pub(crate) use file::{Fd, File, FileTable};
pub(crate) use inode::{Dentry, Inode, InodeIdentity};
pub(crate) use path::{KernelPath, Mount, MountNode};
pub(crate) use socket::{Sock, Socket};
pub(crate) use task::{Kiocb, OtherTask};
