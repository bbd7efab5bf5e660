//! What the guard counts as destruction: the table of acts, their weights and
//! their exceptions.
//!
//! The kernel programs ask the constants, which fold away; the operator's
//! guide and `config show` print the same rows. Not here: how an act is seen
//! (the kernel side's `guard`), and when a budget is exceeded (`policy`).

use core::fmt;

use crate::policy::{JUDGED_CREATED, JUDGED_FREE};

/// One act that destroys something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Criterion {
    /// The act, as the operator's guide describes it.
    pub act: &'static str,
    /// What it counts as.
    pub weight: Weight,
    /// What the act may be done to without counting.
    pub exceptions: Exceptions,
    /// When it is judged, where the profile can refuse.
    pub judged: Judged,
    /// Where the guard sees it.
    pub seen: Sights,
}

/// How much of the budgets an act uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// One file, with the bytes that it held.
    File,
    /// So many files, without bytes.
    Files(u64),
    /// One part of a file, of [`PARTS_PER_FILE`], without bytes.
    Part,
    /// As much as any limit allows.
    Whole,
    /// One file, without bytes, which also counts against the limit of the protected path.
    Place,
}

impl fmt::Display for Weight {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => to.write_str("a file and its bytes"),
            Self::Files(files) => write!(to, "{files} files"),
            Self::Part => write!(to, "a {PARTS_PER_FILE}th of a file"),
            Self::Whole => to.write_str("the whole limit"),
            Self::Place => to.write_str("a file, and against that path's limit"),
        }
    }
}

/// When an act is judged, in a profile whose hooks refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Before it: over the limit it is refused.
    Before,
    /// When it was done: the session ends.
    After,
}

impl fmt::Display for Judged {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

/// What an act may be done to without counting: a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceptions(u32);

impl Exceptions {
    /// Everything counts.
    pub const NONE: Self = Self(0);
    /// What the session made.
    pub const OWN: Self = Self(1);
    /// What some tool fills again, and temporary directories.
    pub const THROWAWAY: Self = Self(1 << 1);
    /// What git takes out of a working tree that is below no protected path.
    pub const GIT: Self = Self(1 << 2);
    /// What git takes out of any working tree.
    pub const GIT_ANYWHERE: Self = Self(1 << 3);
    /// What belongs to a mount namespace other than the recorder's.
    pub const ELSEWHERE: Self = Self(1 << 4);

    /// Each with its word in documents.
    const WORDS: [(Self, &'static str); 5] = [
        (Self::OWN, "own"),
        (Self::THROWAWAY, "throwaway"),
        (Self::GIT, "git"),
        (Self::GIT_ANYWHERE, "git anywhere"),
        (Self::ELSEWHERE, "elsewhere"),
    ];

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether some of `other` is in it.
    #[inline(always)]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Those of `JUDGED_…` that make an object an exception.
    #[inline(always)]
    pub const fn judged(self) -> u64 {
        let own = if self.has(Self::OWN) {
            JUDGED_CREATED
        } else {
            0
        };
        let free = if self.has(Self::THROWAWAY) {
            JUDGED_FREE
        } else {
            0
        };
        own | free
    }
}

impl fmt::Display for Exceptions {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_words(
            to,
            Self::WORDS
                .iter()
                .filter(|(one, _)| self.has(*one))
                .map(|(_, word)| *word),
        )
    }
}

/// Where the guard sees an act: a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sights(u32);

impl Sights {
    /// The hooks of `lsm` and `fentry`.
    pub const HOOK: Self = Self(1);
    /// In `tracepoint`, the hooks on changes of inode times (6.13).
    pub const TIMES: Self = Self(1 << 1);
    /// The exit of the call, in every profile.
    pub const EXIT: Self = Self(1 << 2);
    /// A request of io_uring that performs it is seen as well.
    pub const URING: Self = Self(1 << 3);
    /// Where neither hook shows the object, the act on a name counts, whatever had the name.
    pub const NAME: Self = Self(1 << 4);

    /// Each with its word in documents.
    const WORDS: [(Self, &'static str); 5] = [
        (Self::HOOK, "hook"),
        (Self::TIMES, "times"),
        (Self::EXIT, "exit"),
        (Self::URING, "io_uring"),
        (Self::NAME, "name"),
    ];

    /// Both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether some of `other` is in it.
    #[inline(always)]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl fmt::Display for Sights {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_words(
            to,
            Self::WORDS
                .iter()
                .filter(|(one, _)| self.has(*one))
                .map(|(_, word)| *word),
        )
    }
}

/// Words with commas between them.
fn write_words<'a>(
    to: &mut fmt::Formatter<'_>,
    words: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    for (index, word) in words.enumerate() {
        if index > 0 {
            to.write_str(", ")?;
        }
        to.write_str(word)?;
    }
    Ok(())
}

/// So many rewritten files count as one that is destroyed.
///
/// A formatter or a code generator rewrites thousands of files and leaves each
/// about as long: such work must stay below the limit.
pub const PARTS_PER_FILE: u64 = 64;

/// A mount of others counts as so many files: four of them meet the usual limit.
const FILES_PER_MOUNT: u64 = 16;

/// A rewritten file that keeps less than one part in so many of its length is destroyed.
const KEPT_PART: u64 = 4;

/// The length of a file that the session emptied and had never looked into: no hook
/// shows it in a profile of tracepoints.
pub const LENGTH_UNKNOWN: u64 = u64::MAX;

/// A file of unknown length that is left with fewer bytes is destroyed. Programs that
/// rewrite a file have read it before, so its length is known.
const KEPT_BYTES: u64 = 64;

/// Whether a file of `before` bytes that is left with `after` was rewritten and not destroyed.
#[inline(always)]
pub const fn keeps_enough(after: u64, before: u64) -> bool {
    if before == LENGTH_UNKNOWN {
        after >= KEPT_BYTES
    } else {
        after * KEPT_PART >= before
    }
}

/// Whether a file of `size` bytes is destroyed once so many of them were overwritten or
/// taken away in place.
#[inline(always)]
pub const fn is_mostly_lost(lost: u64, size: u64) -> bool {
    lost >= size.div_ceil(2)
}

/// Defines each row as a constant, and [`CRITERIA`] of all.
macro_rules! criteria {
    ($($(#[$doc:meta])+ $name:ident { $($field:ident: $value:expr,)+ })+) => {
        $($(#[$doc])+ pub const $name: Criterion = Criterion { $($field: $value,)+ };)+

        /// Every row, in the order of the documents.
        pub const CRITERIA: &[Criterion] = &[$($name),+];
    };
}

/// What is spared of removals and changed contents.
const SPARED: Exceptions = Exceptions::OWN
    .and(Exceptions::THROWAWAY)
    .and(Exceptions::GIT);

criteria! {
    /// `unlink` and its kin.
    FILE_REMOVED {
        act: "the last name of a file is removed",
        weight: Weight::File,
        exceptions: SPARED,
        judged: Judged::Before,
        seen: Sights::HOOK.and(Sights::TIMES).and(Sights::URING).and(Sights::NAME),
    }
    /// `rmdir` and its kin.
    DIRECTORY_REMOVED {
        act: "a directory is removed",
        weight: Weight::File,
        exceptions: SPARED,
        judged: Judged::Before,
        seen: Sights::HOOK.and(Sights::TIMES).and(Sights::URING),
    }
    /// rename(2) and its kin. What git replaces so does not count, also below a protected path.
    FILE_REPLACED {
        act: "a rename replaces the last name of a file, and the replacement was not written by the session or is less than a quarter as long",
        weight: Weight::File,
        exceptions: Exceptions::OWN
            .and(Exceptions::THROWAWAY)
            .and(Exceptions::GIT_ANYWHERE),
        judged: Judged::Before,
        seen: Sights::HOOK.and(Sights::TIMES).and(Sights::URING),
    }
    /// truncate(2), ftruncate(2).
    FILE_SHORTENED {
        act: "truncate or ftruncate leaves less than a quarter of a file",
        weight: Weight::File,
        exceptions: SPARED,
        judged: Judged::After,
        seen: Sights::HOOK.and(Sights::TIMES).and(Sights::EXIT).and(Sights::NAME),
    }
    /// fallocate(2).
    FILE_PUNCHED {
        act: "fallocate takes away or zeroes half of a file or more, at once or in pieces",
        weight: Weight::File,
        exceptions: SPARED,
        judged: Judged::After,
        seen: Sights::EXIT,
    }
    /// open(2) with O_TRUNC, judged at the close: a formatter writes again what it emptied.
    FILE_EMPTIED {
        act: "a file is opened with O_TRUNC, and less than a quarter is written until the close",
        weight: Weight::File,
        exceptions: SPARED,
        judged: Judged::After,
        seen: Sights::EXIT.and(Sights::URING),
    }
    /// write(2) and its kin, in whatever order.
    FILE_OVERWRITTEN {
        act: "half of a file or more is overwritten in place, at once or in pieces",
        weight: Weight::File,
        exceptions: SPARED,
        judged: Judged::After,
        seen: Sights::EXIT,
    }
    /// What would be one of the acts above, had it left less behind.
    FILE_REWRITTEN {
        act: "a file keeps a quarter of its length or more when it is replaced by a rename, or opened with O_TRUNC and written, or removed and created again at once",
        weight: Weight::Part,
        exceptions: SPARED,
        judged: Judged::After,
        seen: Sights::HOOK.and(Sights::TIMES).and(Sights::EXIT).and(Sights::URING),
    }
    /// Of those that the session made, the kernel side knows the number alone.
    MOUNT_REMOVED {
        act: "a mount is removed",
        weight: Weight::Files(FILES_PER_MOUNT),
        exceptions: Exceptions::OWN.and(Exceptions::ELSEWHERE),
        judged: Judged::After,
        seen: Sights::EXIT,
    }
    /// Whatever the device holds is a write away.
    DEVICE_OPENED {
        act: "a block device is opened for writing",
        weight: Weight::Whole,
        exceptions: Exceptions::NONE,
        judged: Judged::Before,
        seen: Sights::HOOK.and(Sights::EXIT).and(Sights::URING),
    }
    /// `BLKDISCARD`, `BLKSECDISCARD`, `BLKZEROOUT`.
    DEVICE_DISCARDED {
        act: "a block device is discarded or zeroed",
        weight: Weight::Whole,
        exceptions: Exceptions::NONE,
        judged: Judged::Before,
        seen: Sights::HOOK.and(Sights::EXIT),
    }
    /// `BTRFS_IOC_SNAP_DESTROY`.
    SUBVOLUME_DELETED {
        act: "a btrfs subvolume is deleted",
        weight: Weight::Whole,
        exceptions: Exceptions::NONE,
        judged: Judged::Before,
        seen: Sights::HOOK.and(Sights::EXIT),
    }
    /// rename(2) and its kin.
    MOVED_OUT {
        act: "a file, or a directory above some, is moved out from under a protected path",
        weight: Weight::Place,
        exceptions: Exceptions::OWN,
        judged: Judged::Before,
        seen: Sights::HOOK.and(Sights::TIMES).and(Sights::URING),
    }
}

/// Before an act, the kernel side can count one file or refuse as over any limit.
const _: () = {
    let mut index = 0;
    while index < CRITERIA.len() {
        let row = &CRITERIA[index];
        assert!(
            matches!(row.judged, Judged::After)
                || matches!(row.weight, Weight::File | Weight::Place | Weight::Whole),
            "only a file, a place or the whole limit can be judged before the act"
        );
        index += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_known_by_what_the_object_was_judged_as() {
        assert_eq!(MOVED_OUT.exceptions.judged(), JUDGED_CREATED);
        assert_eq!(
            FILE_REMOVED.exceptions.judged(),
            JUDGED_CREATED | JUDGED_FREE
        );
        assert_eq!(DEVICE_OPENED.exceptions.judged(), 0);
    }

    #[test]
    fn a_quarter_is_enough_and_less_is_not() {
        assert!(keeps_enough(25, 100) && keeps_enough(0, 0));
        assert!(!keeps_enough(24, 100) && !keeps_enough(0, 1));
    }

    #[test]
    fn a_file_of_unknown_length_is_destroyed_by_what_leaves_few_bytes() {
        assert!(!keeps_enough(1, LENGTH_UNKNOWN) && !keeps_enough(63, LENGTH_UNKNOWN));
        assert!(keeps_enough(64, LENGTH_UNKNOWN));
    }

    #[test]
    fn half_of_a_file_is_most_of_it() {
        assert!(is_mostly_lost(50, 100) && is_mostly_lost(1, 1));
        assert!(!is_mostly_lost(49, 100) && !is_mostly_lost(0, 1));
    }

    #[test]
    fn no_act_has_two_rows_or_is_seen_nowhere() {
        for (index, row) in CRITERIA.iter().enumerate() {
            assert!(
                CRITERIA[..index].iter().all(|other| other.act != row.act),
                "{}",
                row.act
            );
            assert_ne!(row.seen, Sights(0), "{}", row.act);
        }
    }

    #[test]
    fn sets_are_written_as_their_words() {
        assert_eq!(MOUNT_REMOVED.exceptions.to_string(), "own, elsewhere");
        assert_eq!(Exceptions::NONE.to_string(), "");
        assert_eq!(FILE_PUNCHED.seen.to_string(), "exit");
        assert_eq!(FILE_REWRITTEN.weight.to_string(), "a 64th of a file");
    }
}
