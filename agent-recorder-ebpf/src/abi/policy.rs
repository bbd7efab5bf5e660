//! The guard's policy in the kernel programs, and the objects that they remember for it.
//!
//! Not here: a session's counters (`state`), and the words of the configuration.

use crate::limits::NAME_KEY_BYTES;
use crate::pod::pod;
use crate::state::SessionNumber;

/// An amount within a window.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps allowed within the window; 0 for no budget.
    pub steps: u64,
    /// Files or bytes of one step.
    pub step: u64,
    /// Window, ns.
    pub window: u64,
}

impl Budget {
    /// No budget.
    pub const NONE: Self = Self {
        steps: 0,
        step: 1,
        window: 0,
    };

    /// Files or bytes that may be destroyed within the window.
    pub const fn limit(&self) -> u64 {
        self.steps * self.step
    }
}

/// The guard's configuration, frozen before load.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardConfig {
    /// 0 for off, or a `GUARD_…`.
    pub action: u64,
    /// Files within a short window; a step is one file.
    pub files: Budget,
    /// Files within a long window.
    pub files_long: Budget,
    /// Bytes within a short window.
    pub bytes: Budget,
    /// Bytes within a long window.
    pub bytes_long: Budget,
}

impl GuardConfig {
    /// No guard.
    pub const OFF: Self = Self {
        action: 0,
        files: Budget::NONE,
        files_long: Budget::NONE,
        bytes: Budget::NONE,
        bytes_long: Budget::NONE,
    };

    /// Budget of a [`Policy`] by its number; that of files for a policy without its own.
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

/// [`GuardConfig::action`]: the limit is reported, and the session continues.
pub const GUARD_ALERT: u64 = 1;
/// The session is killed.
pub const GUARD_KILL: u64 = 2;
/// Acts over the limit are refused, and the session continues.
pub const GUARD_DENY: u64 = 3;
/// The session is stopped until a person decides.
pub const GUARD_FREEZE: u64 = 4;

/// Limits, with the numbers of [`crate::event::GuardBody::policy`].
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
    /// The limit of a protected path.
    Protected = 4,
    /// An act that destroys as much as any limit allows, on a device or a subvolume.
    Whole = 5,
}

impl Policy {
    /// The policy of a number in an event.
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

    /// Name of the policy in enforcement records.
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

/// Key of a session's known acts on an inode.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// Session of the acts.
    pub session: SessionNumber,
    /// `inode.i_ino`.
    pub ino: u64,
    /// `super_block.s_dev`.
    pub dev: u32,
    /// `inode.i_generation`, which differs between files that had one number.
    pub generation: u32,
}

/// Key of a directory whose contents the judge has spared.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SparedKey {
    /// Session that may remove them.
    pub session: SessionNumber,
    /// `inode.i_ino`.
    pub ino: u64,
    /// `super_block.s_dev`.
    pub dev: u32,
    /// Always 0.
    pub spare: u32,
}

/// The session created the inode.
pub const KNOWN_CREATED: u32 = 1;
/// The object was moved out of a place where objects may be thrown away: all of it still may.
pub const KNOWN_FREED: u32 = 2;
/// The object was moved to a place where objects may be thrown away, which does not count for it.
pub const KNOWN_FOREIGN: u32 = 4;
/// A rename gave a name of the file to a file of the session of about the same length. The old
/// file's other names are what remains of it.
pub const KNOWN_REPLACED: u32 = 8;

/// Key of an inode without a session: a directory, program or written file.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaceKey {
    /// `inode.i_ino`.
    pub ino: u64,
    /// `super_block.s_dev`.
    pub dev: u32,
    /// Always 0.
    pub spare: u32,
}

/// A directory in the policy.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `PLACE_…`.
    pub kind: u32,
    /// Index of its counter in a session, for a protected path.
    pub slot: u32,
    /// Files that may be destroyed below it, for a protected path.
    pub limit: u32,
    /// Always 0.
    pub spare: u32,
}

/// Objects below may be thrown away.
pub const PLACE_TEMPORARY: u32 = 1;
/// Objects below have a limit of their own.
pub const PLACE_PROTECTED: u32 = 2;
/// A protected path is somewhere below.
pub const PLACE_ABOVE: u32 = 3;

/// Key of a name in the policy; unused bytes are 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameKey {
    /// `NAME_…`.
    pub kind: u32,
    /// Bytes of the name.
    pub name: [u8; NAME_KEY_BYTES],
}

/// A directory of this name may be thrown away.
pub const NAME_DIRECTORY: u32 = 1;
/// A directory of this name may be thrown away if its parent's name is a [`NAME_PARENT`].
pub const NAME_BELOW: u32 = 2;
/// Name of the parent of a [`NAME_BELOW`].
pub const NAME_PARENT: u32 = 3;
/// Bit of a [`NAME_DIRECTORY`] or [`NAME_BELOW`]: the name says nothing while a judge lives,
/// who looks for the tool that fills the directory.
pub const NAME_JUDGED: u32 = 1 << 8;
/// A file whose name ends with this, from its last dot, may be thrown away.
pub const NAME_SUFFIX: u32 = 4;
/// First word after a [`PROGRAM_RESTORES`] with which it removes only what it can restore.
pub const NAME_VERB: u32 = 5;

/// A word for which a gated program is stopped.
pub const NAME_GATE_WORD: u32 = 6;
/// Name of a program that runs scripts, without its version.
pub const NAME_INTERPRETER: u32 = 7;
/// Value of a [`NAME_INTERPRETER`] whose file is many programs: argv[0] says which one.
pub const NAME_MANY: u32 = 8;

/// Value of a program by its file ([`PlaceKey`]): some of its uses keep a copy of what they remove.
pub const PROGRAM_RESTORES: u32 = 1;

/// An object that a running operation could destroy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Victim {
    /// Address of the inode.
    pub inode: u64,
    /// Address of the dentry.
    pub dentry: u64,
    /// Address of the parent's dentry, which a move changes.
    pub parent: u64,
    /// `dentry.d_name.hash_len`, which a rename changes.
    pub name: u64,
    /// Bytes on the file system.
    pub bytes: u64,
    /// Length, bytes.
    pub size: u64,
    /// `JUDGED_…`, slot and limit.
    pub judged: u64,
    /// `inode.i_mtime`, s.
    pub modified_s: i64,
    /// The same, ns of the second.
    pub modified_ns: u32,
    /// `inode.i_mode`.
    pub mode: u32,
}

/// The object may be thrown away.
pub const JUDGED_FREE: u64 = 1;
/// The session created the object.
pub const JUDGED_CREATED: u64 = 2;
/// The object is below a protected path, whose slot and limit are in the same value.
pub const JUDGED_PROTECTED: u64 = 4;
/// A protected path is below the object.
pub const JUDGED_ABOVE: u64 = 8;
/// The object keeps another name.
pub const JUDGED_NAMED: u64 = 16;
/// A file of about the same length has its place ([`KNOWN_REPLACED`]).
pub const JUDGED_REPLACED: u64 = 32;
/// First bit of the slot.
pub const JUDGED_SLOT: u32 = 8;
/// First bit of the limit.
pub const JUDGED_LIMIT: u32 = 32;

/// A running operation, by thread or request of io_uring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Foreseen {
    /// [`crate::event::Op`].
    pub op: u32,
    /// Not 0: the first victim was counted before the act.
    pub counted: u32,
    /// Number of victims.
    pub seen: u32,
    /// Always 0.
    pub spare: u32,
    /// Address of the dentry, or inode, that the operation creates.
    pub made: u64,
    /// The victims, in the order in which the hooks saw them.
    pub victims: [Victim; VICTIMS],
}

/// Key of a name from which a session removed a file that it did not create.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemovedKey {
    /// Session of the removal.
    pub session: SessionNumber,
    /// Address of the parent's dentry.
    pub parent: u64,
    /// `dentry.d_name.hash_len`.
    pub name: u64,
}

/// The removed file, and how it was counted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Length, bytes.
    pub size: u64,
    /// Bytes on the file system.
    pub bytes: u64,
    /// [`Victim::judged`].
    pub judged: u64,
    /// [`crate::state::Session::judgements`] when it was counted.
    pub judgements: u32,
    /// Always 0.
    pub spare: u32,
}

/// Inodes of one operation: rename(2) touches two files and two directories.
pub const VICTIMS: usize = 4;

/// What a session found in a file before the session changed it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The longest that the session has found it, bytes.
    pub length: u64,
    /// How many bytes below that length the session has overwritten or taken away in place.
    pub written: u64,
    /// Not 0: the session has opened it to write in place.
    pub in_place: u64,
}

/// Key of an open file that a session has emptied, or has created where it had removed one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutKey {
    /// Which session.
    pub session: SessionNumber,
    /// Address of the `struct file`, which all descriptors that lead to it have in common.
    pub file: u64,
}

/// What the file held, and what is judged once its last descriptor is closed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Address of the inode.
    pub inode: u64,
    /// `inode.i_ino`.
    pub ino: u64,
    /// Its length before, `criteria::LENGTH_UNKNOWN` where the session never saw it.
    pub size: u64,
    /// Of a [`CUT_REMADE`], the bytes that were counted.
    pub bytes: u64,
    /// Address of the descriptor table that is going with its process.
    pub table: u64,
    /// Descriptors of that table that lead to the file and were met so far.
    pub leaving: u64,
    /// As in [`Victim::judged`].
    pub judged: u64,
    /// `inode.i_generation`.
    pub generation: u32,
    /// `CUT_…`.
    pub kind: u32,
}

/// Nothing is to be judged.
pub const CUT_NONE: u32 = 0;
/// The file was opened with O_TRUNC.
pub const CUT_EMPTIED: u32 = 1;
/// The file was created at a name whose removed file was counted.
pub const CUT_REMADE: u32 = 2;

pod! {
    Budget = 24, GuardConfig = 104, KnownKey = 24, PlaceKey = 16, Place = 16, NameKey = 32,
    Victim = 72, Foreseen = 312, SparedKey = 24, Content = 24, CutKey = 16, Cut = 64, RemovedKey = 24, Removed = 32,
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
