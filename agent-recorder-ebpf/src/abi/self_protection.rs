//! What is the recorder's own, as user space tells the kernel programs: keys of
//! one map. Members of sessions are refused what would harm it.
//!
//! Not here: how user space finds these (the recorder's `guard`), and the record
//! of what was tried (its `session::tamper`).

use crate::pod::pod;

/// One thing of the recorder's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnKey {
    /// What names it among its kind.
    pub number: u64,
    /// `super_block.s_dev`, of kinds that are inodes; else 0.
    pub dev: u32,
    /// `OWN_…`.
    pub kind: u32,
}

/// A file, or a directory with all below: `inode.i_ino`.
pub const OWN_TREE: u32 = 1;
/// A directory above one, or where BPF objects are pinned: not moved, and nothing is mounted there.
pub const OWN_ABOVE: u32 = 2;
/// A namespace of mounts (`mnt_namespace.ns.inum`): in others, a session mounts what it likes.
pub const OWN_NAMESPACE: u32 = 3;
/// A process: `task_struct.tgid`.
pub const OWN_PROCESS: u32 = 4;
/// `bpf_prog_aux.id`.
pub const OWN_PROGRAM: u32 = 5;
/// `bpf_map.id`.
pub const OWN_MAP: u32 = 6;
/// `bpf_link.id`.
pub const OWN_LINK: u32 = 7;

pod! { OwnKey = 16 }
