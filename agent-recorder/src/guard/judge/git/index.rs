//! The index: which paths are tracked, and in which state they were staged.
//!
//! The file is read, not mapped: a process that cuts a mapped file ends its reader.
//!
//! Racily clean entries are not believed: an entry whose time is not older than the
//! index file's own could have been changed after it was staged, within one tick of the
//! clock, and git itself would read the file again. Times are compared with nanoseconds
//! where the entry has them, so that a fresh clone is racy in its last files only.

use std::cmp::Ordering;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use gix::bstr::ByteSlice as _;
use gix::index::State;
use gix::index::entry::{Flags, Mode, Stage};

use super::open::{Opened, fault};
use crate::guard::judge::bounded_read::{open_regular, read_open};
use crate::guard::judge::loss::{Fault, Loss, Modified};

/// Most bytes of an index: some 300,000 files, decoded in about 100 ms.
const MOST_INDEX: u64 = 32 << 20;
/// Most bytes that one allocation of the decoder may have.
const MOST_ALLOCATION: usize = 256 << 20;

/// The index of a work tree.
pub(super) struct Index {
    state: State,
    modified: Modified,
}

/// How the index has a path.
pub(super) enum Tracked {
    At(Entry),
    /// A merge has left it in several stages.
    Conflict,
    Absent,
}

/// A tracked path.
pub(super) struct Entry {
    pub(super) blob: gix::ObjectId,
    modified: Modified,
    /// Low 32 bits of the length.
    size: u32,
    /// Low 32 bits of the inode number; 0 where git did not store it.
    inode: u32,
    is_believed: bool,
}

impl Index {
    pub(super) fn read(work_tree: &Path, opened: &Opened) -> Result<Self, Fault> {
        let path = opened.git_dir.join("index");
        let hash = opened.gix.object_hash();
        let empty = State::new(hash);
        if fs::symlink_metadata(&path).is_err() {
            // Before the first `git add` there is none. With a commit, someone took it.
            return match opened.gix.head().map(|head| head.is_unborn()) {
                Ok(true) => Ok(Self {
                    state: empty,
                    modified: Modified {
                        seconds: 0,
                        nanoseconds: 0,
                    },
                }),
                _ => Err(form(work_tree, "gone")),
            };
        }
        let (file, metadata) = open_regular(&path)?;
        let bytes = read_open(&path, &file, &metadata, MOST_INDEX)?;
        let options = gix::index::decode::Options {
            thread_limit: Some(1),
            alloc_limit_bytes: Some(MOST_ALLOCATION),
            ..Default::default()
        };
        // The checksum is not verified: whoever forges an index forges it as well.
        let (state, _) = State::from_bytes(&bytes, empty.timestamp(), hash, options)
            .map_err(|error| fault(work_tree, &error))?;
        if state.link().is_some() {
            return Err(form(work_tree, "split"));
        }
        if !is_sorted(&state) {
            // A search by halves would miss tracked files.
            return Err(form(work_tree, "not sorted"));
        }
        Ok(Self {
            state,
            modified: Modified {
                seconds: metadata.mtime(),
                nanoseconds: u32::try_from(metadata.mtime_nsec()).unwrap_or(0),
            },
        })
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn find(&self, path: &[u8]) -> Tracked {
        let path = path.as_bstr();
        let Some(entry) = self
            .state
            .entry_by_path_and_stage(path, Stage::Unconflicted)
        else {
            let is_staged = [Stage::Base, Stage::Ours, Stage::Theirs]
                .into_iter()
                .any(|stage| self.state.entry_by_path_and_stage(path, stage).is_some());
            // A sparse index has a directory in the place of all that is below it.
            let is_folded = self.state.is_sparse() && self.is_below_folded(path);
            let is_known = is_staged || is_folded;
            return if is_known {
                Tracked::Conflict
            } else {
                Tracked::Absent
            };
        };
        let stat = &entry.stat;
        let modified = Modified {
            seconds: i64::from(stat.mtime.secs),
            nanoseconds: stat.mtime.nsecs,
        };
        let is_file = entry.mode == Mode::FILE || entry.mode == Mode::FILE_EXECUTABLE;
        let is_present = !entry.flags.contains(Flags::SKIP_WORKTREE);
        Tracked::At(Entry {
            blob: entry.id,
            modified,
            size: stat.size,
            inode: stat.ino,
            is_believed: is_file && is_present && is_older(modified, self.modified),
        })
    }

    pub(super) fn has_below(&self, directory: &[u8]) -> bool {
        let mut prefix = directory.to_vec();
        prefix.push(b'/');
        let range = self.state.prefixed_entries_range(prefix.as_bstr());
        range.is_some_and(|range| !range.is_empty())
            || (self.state.is_sparse() && self.is_below_folded(directory.as_bstr()))
    }

    fn is_below_folded(&self, path: &gix::bstr::BStr) -> bool {
        let ends = path.find_iter(b"/").map(|at| &path[..=at]);
        ends.filter_map(|directory| self.state.entry_by_path(directory))
            .any(|entry| entry.mode == Mode::DIR)
    }
}

impl Entry {
    /// Whether the victim's state before the act is the one that was staged.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "git stores the low 32 bits of length and inode"
    )]
    pub(super) fn is_state_of(&self, loss: &Loss) -> bool {
        let is_same_nanosecond = self.modified.nanoseconds == 0
            || self.modified.nanoseconds == loss.modified.nanoseconds;
        let is_same_inode = self.inode == 0 || loss.inode == 0 || self.inode == loss.inode as u32;
        self.is_believed
            && self.size == loss.size as u32
            && self.modified.seconds == loss.modified.seconds
            && is_same_nanosecond
            && is_same_inode
    }
}

/// Strictly older; by seconds where the entry has no nanoseconds.
fn is_older(entry: Modified, index: Modified) -> bool {
    if entry.nanoseconds == 0 {
        entry.seconds < index.seconds
    } else {
        entry < index
    }
}

fn is_sorted(state: &State) -> bool {
    state.entries().windows(2).all(|pair| {
        let (one, other) = (&pair[0], &pair[1]);
        let order = one.path(state).cmp(other.path(state));
        match order {
            Ordering::Less => true,
            Ordering::Equal => one.stage_raw() < other.stage_raw(),
            Ordering::Greater => false,
        }
    })
}

fn form(work_tree: &Path, form: &'static str) -> Fault {
    Fault::IndexForm {
        work_tree: work_tree.to_owned(),
        form,
    }
}
