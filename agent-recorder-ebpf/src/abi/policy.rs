//! The guard's policy as the kernel programs hold it, and what they remember for it.
//!
//! Not here: a session's counters (`state`), and what the configuration calls these things.

use crate::limits::NAME_KEY_BYTES;
use crate::pod::pod;
use crate::state::SessionNumber;

/// So much within a time.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps that may be taken within the window; 0 for no budget.
    pub steps: u64,
    /// Files, or bytes, of one step.
    pub step: u64,
    /// ns.
    pub window: u64,
}

impl Budget {
    /// No budget.
    pub const NONE: Self = Self {
        steps: 0,
        step: 1,
        window: 0,
    };

    /// What may be destroyed within the window: files, or bytes.
    pub const fn limit(&self) -> u64 {
        self.steps * self.step
    }
}

/// The guard's configuration, frozen before load.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// 0 off, or one of [`GUARD_ALERT`] ….
    pub action: u64,
    /// Files over a short time; its step is one file.
    pub files: Budget,
    /// Files over a long one.
    pub files_long: Budget,
    /// Bytes over a short time.
    pub bytes: Budget,
    /// Bytes over a long one.
    pub bytes_long: Budget,
}

impl GuardConfig {
    /// Counts nothing.
    pub const OFF: Self = Self {
        action: 0,
        files: Budget::NONE,
        files_long: Budget::NONE,
        bytes: Budget::NONE,
        bytes_long: Budget::NONE,
    };

    /// The budget of a limit, by the number of its [`Policy`]: that of files for
    /// one that has no budget of its own.
    #[inline(always)]
    pub const fn budget_of(&self, policy: u64) -> Budget {
        const FILES_LONG: u64 = Policy::FilesLong as u64;
        const BYTES: u64 = Policy::Bytes as u64;
        const BYTES_LONG: u64 = Policy::BytesLong as u64;
        match policy {
            FILES_LONG => self.files_long,
            BYTES => self.bytes,
            BYTES_LONG => self.bytes_long,
            _ => self.files,
        }
    }
}

/// [`GuardConfig::action`]: the session is told of and goes on.
pub const GUARD_ALERT: u64 = 1;
/// The session dies.
pub const GUARD_KILL: u64 = 2;
/// What goes over the limit is refused, and the session goes on.
pub const GUARD_DENY: u64 = 3;
/// The session stops until somebody decides.
pub const GUARD_FREEZE: u64 = 4;

/// Which limit was met, in [`crate::event::GuardBody::policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// [`GuardConfig::files`].
    Files = 0,
    /// [`GuardConfig::files_long`].
    FilesLong = 1,
    /// [`GuardConfig::bytes`].
    Bytes = 2,
    /// [`GuardConfig::bytes_long`].
    BytesLong = 3,
    /// A protected path's own.
    Protected = 4,
    /// One act that destroys as much as any limit allows: a device, a subvolume.
    Whole = 5,
}

impl Policy {
    /// From the number in an event.
    pub const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Files,
            1 => Self::FilesLong,
            2 => Self::Bytes,
            3 => Self::BytesLong,
            4 => Self::Protected,
            5 => Self::Whole,
            _ => return None,
        })
    }

    /// Its name in enforcement records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "bulk-delete",
            Self::FilesLong => "slow-delete",
            Self::Bytes => "bulk-bytes",
            Self::BytesLong => "slow-bytes",
            Self::Protected => "protected-path",
            Self::Whole => "whole-destruction",
        }
    }
}

/// Key of what a session is known to have done to an inode.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// Which session.
    pub session: SessionNumber,
    /// `inode.i_ino`.
    pub ino: u64,
    /// `super_block.s_dev`.
    pub dev: u32,
    /// `inode.i_generation`: another file of the same number has another.
    pub generation: u32,
}

/// The session made it.
pub const KNOWN_CREATED: u32 = 1;
/// It was moved from where things may be thrown away: it and all below may be.
pub const KNOWN_FREED: u32 = 2;
/// It was moved to where things may be thrown away: that says nothing about it or what is below.
pub const KNOWN_FOREIGN: u32 = 4;
/// One of its names was given, by a rename, to a file that the session wrote and
/// that is about as long: what is left of it are the names that were kept meanwhile.
pub const KNOWN_REPLACED: u32 = 8;

/// Key of a directory that the policy names.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaceKey {
    /// `inode.i_ino`.
    pub ino: u64,
    /// `super_block.s_dev`.
    pub dev: u32,
    /// Zero.
    pub spare: u32,
}

/// What the policy says of a directory.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `PLACE_…`.
    pub kind: u32,
    /// Protected: its counter in a session.
    pub slot: u32,
    /// Protected: what may be destroyed below.
    pub limit: u32,
    /// Zero.
    pub spare: u32,
}

/// What is below may be thrown away.
pub const PLACE_TEMPORARY: u32 = 1;
/// What is below has a limit of its own.
pub const PLACE_PROTECTED: u32 = 2;
/// A protected path is somewhere below.
pub const PLACE_ABOVE: u32 = 3;

/// Key of a name that the policy knows; unused bytes are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameKey {
    /// `NAME_…`.
    pub kind: u32,
    /// The bytes.
    pub name: [u8; NAME_KEY_BYTES],
}

/// A directory of this name may be thrown away.
pub const NAME_DIRECTORY: u32 = 1;
/// … if its parent has a name of the kind [`NAME_PARENT`].
pub const NAME_BELOW: u32 = 2;
/// See [`NAME_BELOW`].
pub const NAME_PARENT: u32 = 3;
/// A file whose name ends so, from its last dot, may be thrown away.
pub const NAME_SUFFIX: u32 = 4;
/// A first word after the program's name with which a [`PROGRAM_RESTORES`] removes only what it can bring back.
pub const NAME_VERB: u32 = 5;

/// A word that has a gated program stopped.
pub const NAME_GATE_WORD: u32 = 6;
/// A program that runs scripts, up to its version.
pub const NAME_INTERPRETER: u32 = 7;
/// Value of such a name: the file is many programs, and the name that it calls itself by (argv[0]) says which.
pub const NAME_MANY: u32 = 8;

/// A program, by its file (as [`PlaceKey`]): what it removes in some of its uses it keeps elsewhere.
pub const PROGRAM_RESTORES: u32 = 1;

/// An object that an operation under way could destroy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Victim {
    /// Address of its inode.
    pub inode: u64,
    /// Address of its dentry.
    pub dentry: u64,
    /// Its parent's dentry, to see whether it was moved.
    pub parent: u64,
    /// `dentry.d_name.hash_len`, for the same.
    pub name: u64,
    /// Bytes it holds on its file system.
    pub bytes: u64,
    /// Its length.
    pub size: u64,
    /// `JUDGED_…`, and the protected place.
    pub judged: u64,
}

/// It may be thrown away.
pub const JUDGED_FREE: u64 = 1;
/// The session made it.
pub const JUDGED_CREATED: u64 = 2;
/// It is below a protected path: slot and limit are given.
pub const JUDGED_PROTECTED: u64 = 4;
/// A protected path is below it.
pub const JUDGED_ABOVE: u64 = 8;
/// Other names of it remain.
pub const JUDGED_NAMED: u64 = 16;
/// Something about as long stands in its place ([`KNOWN_REPLACED`]).
pub const JUDGED_REPLACED: u64 = 32;
/// Where the slot begins.
pub const JUDGED_SLOT: u32 = 8;
/// Where the limit begins.
pub const JUDGED_LIMIT: u32 = 32;

/// What is known of an operation under way, by thread or request of io_uring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Foreseen {
    /// [`crate::event::Op`].
    pub op: u32,
    /// Not 0: the first victim is counted already.
    pub counted: u32,
    /// Victims that were seen.
    pub seen: u32,
    /// Zero.
    pub spare: u32,
    /// The dentry, or inode, of what is made.
    pub made: u64,
    /// What was seen, in the order in which it was.
    pub victims: [Victim; VICTIMS],
}

/// Key of a name that a session took somebody else's file from.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedKey {
    /// Which session.
    pub session: SessionNumber,
    /// Address of the parent's dentry.
    pub parent: u64,
    /// `dentry.d_name.hash_len`.
    pub name: u64,
}

/// What had it, and how it was counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Its length.
    pub size: u64,
    /// Bytes it held.
    pub bytes: u64,
    /// As in [`Victim::judged`].
    pub judged: u64,
}

/// Inodes that one operation touches: rename(2) two files and two directories.
pub const VICTIMS: usize = 4;

/// A file, open, whose contents were cut or may be written over.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Address of the `struct file`.
    pub file: u64,
    /// Address of its inode.
    pub inode: u64,
    /// Its number.
    pub ino: u64,
    /// Its length before, 0 where it is not known.
    pub size: u64,
    /// How far it was written over from its start; of a [`CUT_REMADE`], the bytes that were counted.
    pub written: u64,
    /// As in [`Victim::judged`].
    pub judged: u64,
    /// `inode.i_generation`.
    pub generation: u32,
    /// `CUT_…`.
    pub kind: u32,
}

/// It was opened with O_TRUNC.
pub const CUT_EMPTIED: u32 = 1;
/// It has all it had.
pub const CUT_INTACT: u32 = 2;
/// It is made where somebody else's was removed, which is counted.
pub const CUT_REMADE: u32 = 3;

pod! {
    Budget = 24, GuardConfig = 104, KnownKey = 24, PlaceKey = 16, Place = 16, NameKey = 32,
    Victim = 56, Foreseen = 248, Cut = 56, RemovedKey = 24, Removed = 24,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_said_with_its_own_budget() {
        let budget = |window| Budget {
            window,
            ..Budget::NONE
        };
        let config = GuardConfig {
            action: GUARD_KILL,
            files: budget(1),
            files_long: budget(2),
            bytes: budget(3),
            bytes_long: budget(4),
        };
        let windows = [
            (Policy::Files, 1),
            (Policy::FilesLong, 2),
            (Policy::Bytes, 3),
            (Policy::BytesLong, 4),
            (Policy::Protected, 1),
            (Policy::Whole, 1),
        ];
        for (policy, window) in windows {
            assert_eq!(config.budget_of(policy as u64).window, window, "{policy:?}");
        }
    }
}
