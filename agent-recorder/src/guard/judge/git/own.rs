//! Losses of a repository's own files: whether the repository itself is going.
//!
//! Everything below `.git` is lost, but for a loose object that the store still has (it
//! was packed). What git removes in ordinary work says nothing about the repository; any
//! other removal means that it goes, in whatever order, and it then holds nothing.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::open::{self, Opened};
use crate::guard::judge::loss::{Act, Fault, Holder, Loss, Object};

/// Directories in which git removes files in ordinary work: references, their logs, the
/// state of rebases, linked work trees.
const TRANSIENT_DIRECTORIES: [&str; 8] = [
    "refs",
    "logs",
    "rebase-merge",
    "rebase-apply",
    "sequencer",
    "worktrees",
    "rr-cache",
    "fsmonitor--daemon",
];
/// Files that git removes in ordinary work.
const TRANSIENT_FILES: [&str; 9] = [
    "*.lock",
    "*_HEAD",
    "*_MSG",
    "MERGE_*",
    "BISECT_*",
    "AUTO_MERGE",
    "gc.*",
    "shallow",
    "packed-refs",
];

/// The repositories whose own files are among the losses.
#[derive(Default)]
pub(in crate::guard::judge) struct Own {
    opened: HashMap<PathBuf, Option<Opened>>,
}

/// The directory with the `.git` that a path is in or is.
pub(in crate::guard::judge) fn work_tree_of(path: &Path) -> Option<&Path> {
    let mut above = path.ancestors();
    let dot_git = above.find(|place| place.file_name() == Some(OsStr::new(".git")))?;
    dot_git.parent()
}

impl Own {
    /// What holds a file of a repository. `true`: the repository is going.
    pub(in crate::guard::judge) fn examine(
        &mut self,
        loss: &Loss,
        work_tree: &Path,
        root: &Path,
        faults: &mut Vec<Fault>,
    ) -> (Holder, bool) {
        let inside = loss.path.strip_prefix(work_tree.join(".git"));
        let inside = inside.unwrap_or(&loss.path);
        if loss.act != Act::Removed || loss.object == Object::Directory {
            return (Holder::Lost, false);
        }
        let Some(id) = loose_object(inside) else {
            return (Holder::Lost, !is_transient(inside));
        };
        let opened = self.opened.entry(work_tree.to_owned());
        let opened = opened.or_insert_with(|| {
            let opened = open::open(work_tree, root);
            opened.map_err(|fault| faults.push(fault)).ok()
        });
        let has = opened
            .as_ref()
            .and_then(|opened| opened.gix.try_find_header(id).ok().flatten())
            .is_some();
        if has {
            (Holder::Git, false)
        } else {
            (Holder::Lost, true)
        }
    }
}

/// `objects/xx/…` is the object's number in two parts.
fn loose_object(inside: &Path) -> Option<gix::ObjectId> {
    let rest = inside.strip_prefix("objects").ok()?;
    let hex: Vec<u8> = rest
        .iter()
        .flat_map(|part| part.as_bytes().iter().copied())
        .collect();
    gix::ObjectId::from_hex(&hex).ok()
}

fn is_transient(inside: &Path) -> bool {
    let first = inside.iter().next().unwrap_or_default();
    let name = inside.file_name().unwrap_or_default().as_bytes();
    let is_named = TRANSIENT_FILES.iter().any(|pattern| {
        let mode = gix::glob::wildmatch::Mode::empty();
        gix::glob::wildmatch((*pattern).into(), name.into(), mode)
    });
    // The work tree's own `.git` file, of a submodule or a linked work tree, is empty
    // here: what it points to stays.
    inside.as_os_str().is_empty()
        || TRANSIENT_DIRECTORIES
            .iter()
            .any(|directory| first == *directory)
        || (is_named && inside.iter().count() == 1)
}
