//! The question and the answer: what went, and what holds it.
//!
//! Not here: how the answer is found (`bench`).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// One object that counted. A removed or replaced object has the state that it had
/// before the act; of contents that were changed in place only the path is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Path by which the recorder reaches the place. It begins with `/proc/PID/root`
    /// where the object lay in another mount namespace or below another root.
    ///
    /// Of an object that the session moved before, the place where others had it.
    pub path: PathBuf,
    /// The path that the object had when it was lost.
    pub name: PathBuf,
    /// What was done to the object.
    pub act: Act,
    /// What the object was.
    pub object: Object,
    /// Length in bytes before the act.
    pub size: u64,
    /// Time of the last change of the contents before the act.
    pub modified: Modified,
    /// Inode number; 0 where it is unknown or differs from that of stat(2) (overlayfs).
    pub inode: u64,
}

/// The act that destroyed the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Its last name was removed.
    Removed,
    /// A rename put another object over its name.
    Replaced,
    /// Its contents were emptied, cut or overwritten.
    Changed,
}

/// The kind of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Object {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a FIFO or a socket.
    Other,
}

/// Modification time, as inode(7) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Modified {
    /// Seconds since the epoch.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// The reason why an object is not lost, or that it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A repository has the same contents as an object.
    Git,
    /// The repository's own rules ignore the file: a tool makes it again.
    GitIgnored,
    /// An installed package owns the file, which has not changed since its installation.
    Package(String),
    /// A directory above it says by its CACHEDIR.TAG that it is a cache.
    CacheTag,
    /// A tool wrote it, whose project file lies beside the directory.
    BuildOutput,
    /// The object is a symbolic link, whose target stays.
    Link,
    /// The object is a directory: it was empty, and its contents were judged themselves.
    Directory,
    /// The name has an object of the same kind again, of a quarter of the length or more.
    MadeAnew,
    /// Nothing that is known here holds it.
    Lost,
    /// The judge could not find out, by the deadline or because a fault hid the answer.
    /// It counts as lost.
    Unjudged,
}

impl Holder {
    /// The word of the record.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::GitIgnored => "git-ignored",
            Self::Package(_) => "package",
            Self::CacheTag => "cache-tag",
            Self::BuildOutput => "build-output",
            Self::Link => "link",
            Self::Directory => "directory",
            Self::MadeAnew => "made-anew",
            Self::Lost => "lost",
            Self::Unjudged => "unjudged",
        }
    }

    /// Whether the object counts as lost.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost | Self::Unjudged)
    }
}

/// What the judge found.
#[derive(Debug)]
pub struct Judgement {
    /// One for each loss, in the order of the losses.
    pub holders: Vec<Holder>,
    /// Directories whose remaining contents may go as well.
    pub spared: Vec<PathBuf>,
    /// Work trees whose repository holds an object that was let go. When it goes, the
    /// object is lost after all.
    pub leans_on: Vec<PathBuf>,
    /// Why something was not judged, or a repository was not believed; for the log.
    pub faults: Vec<Fault>,
    /// How long it took.
    pub took: Duration,
}

impl Judgement {
    /// How many objects count as lost.
    pub fn lost(&self) -> usize {
        let lost = self.holders.iter().filter(|holder| holder.is_lost());
        lost.count()
    }
}

/// Why something was not judged, or a repository was not believed.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The deadline passed.
    #[error("the judge's time is over; {unjudged} objects are unjudged and count as lost")]
    Deadline {
        /// Objects without an answer.
        unjudged: usize,
    },
    /// Earlier judgements still hang in a file system or a hostile file.
    #[error("{hanging} earlier judgements still hang; nothing is judged until one returns")]
    Hanging {
        /// How many.
        hanging: usize,
    },
    /// The thread did not start.
    #[error("cannot start the judge's thread: {0}")]
    Thread(#[source] io::Error),
    /// A reader panicked. It is a defect, which a hostile file can reach.
    #[error("a reader of the judge panicked; {unjudged} objects are unjudged and count as lost")]
    Panic {
        /// Objects without an answer.
        unjudged: usize,
    },
    /// A path leads through a symbolic link, which the kernel's path cannot have had.
    #[error("a symbolic link has taken the place of a directory above {0}")]
    Planted(PathBuf),
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is longer than its reader's bound.
    #[error("{path} has {size} bytes, more than the {most} that the judge reads")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        size: u64,
        /// The bound.
        most: u64,
    },
    /// A file or directory of a repository is another kind of object.
    #[error("{0} is a symbolic link or a special file; nothing in its repository counts as held")]
    WrongKind(PathBuf),
    /// The repository's files belong to another work tree.
    #[error(
        "the repository of {work_tree} says that its work tree is elsewhere; nothing counts as held"
    )]
    Elsewhere {
        /// The directory with `.git`.
        work_tree: PathBuf,
    },
    /// gix did not open or decode the repository.
    #[error("cannot read the repository of {work_tree}: {reason}")]
    Repository {
        /// The directory with `.git`.
        work_tree: PathBuf,
        /// gix's error, with its causes.
        reason: String,
    },
    /// The index has a form that the judge does not read.
    #[error("the index of {work_tree} is {form}, which the judge does not read")]
    IndexForm {
        /// The directory with `.git`.
        work_tree: PathBuf,
        /// The form.
        form: &'static str,
    },
    /// The repository's own files are among the losses.
    #[error("the repository of {work_tree} itself is going; nothing in it counts as held")]
    Going {
        /// The directory with `.git`.
        work_tree: PathBuf,
    },
}

impl Fault {
    /// What an object is whose answer the fault hid.
    pub(super) fn holder(&self) -> Holder {
        match self {
            Self::WrongKind(_) | Self::Elsewhere { .. } | Self::Going { .. } => Holder::Lost,
            _ => Holder::Unjudged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_holder_has_a_word_of_its_own() {
        let all = [
            Holder::Git,
            Holder::GitIgnored,
            Holder::Package(String::new()),
            Holder::CacheTag,
            Holder::BuildOutput,
            Holder::Link,
            Holder::Directory,
            Holder::MadeAnew,
            Holder::Lost,
            Holder::Unjudged,
        ];
        let words: BTreeSet<_> = all.iter().map(Holder::word).collect();
        assert_eq!(words.len(), all.len());
    }
}
