//! Objects of the recorder, as keys of one map: the kernel programs refuse acts of sessions that
//! would harm them.
//!
//! Not here: how user space finds the objects (its `guard`), and the record of an attempt (its
//! `session::tamper`).

use crate::pod::pod;

/// An object of the recorder.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnKey {
    /// Number of the object within its kind.
    pub number: u64,
    /// `super_block.s_dev` of kinds that are inodes, else 0.
    pub dev: u32,
    /// `OWN_…`.
    pub kind: u32,
}

/// A file, or a directory with everything below: `inode.i_ino`.
pub const OWN_TREE: u32 = 1;
/// A directory above an [`OWN_TREE`], or the place of pins: it cannot be moved or mounted over.
pub const OWN_ABOVE: u32 = 2;
/// A mount namespace (`mnt_namespace.ns.inum`); in others a session may mount anything.
pub const OWN_NAMESPACE: u32 = 3;
/// A process: `task_struct.tgid`.
pub const OWN_PROCESS: u32 = 4;
/// A BPF program: `bpf_prog_aux.id`.
pub const OWN_PROGRAM: u32 = 5;
/// A BPF map: `bpf_map.id`.
pub const OWN_MAP: u32 = 6;
/// A BPF link: `bpf_link.id`.
pub const OWN_LINK: u32 = 7;

pod! { OwnKey = 16 }
