//! The latest stash: `git stash` writes it before it takes the files away.
//!
//! A stash proves a file by three things: it has a blob of the file's length under the
//! path, it took something of that path (the blob differs from the commit that it was
//! made on), and the file has not been changed since. Without the last, a file that came
//! back and was worked on would count as held.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use gix::ObjectId;
use gix::objs::Kind;

use super::open::{Opened, fault};
use crate::guard::judge::loss::{Fault, Loss};

/// Most bytes of a commit or a tree that is decoded.
const MOST_OBJECT: u64 = 16 << 20;

/// The commits of `refs/stash`, as trees.
pub(super) struct Stash {
    gix: gix::Repository,
    /// When it was made, in seconds since the epoch.
    seconds: i64,
    work: ObjectId,
    base: ObjectId,
    untracked: Option<ObjectId>,
}

impl Stash {
    /// The latest stash; `None` where there is none.
    pub(super) fn read(work_tree: &Path, opened: &Opened) -> Result<Option<Self>, Fault> {
        let gix = opened.gix.clone();
        let reference = gix.try_find_reference("refs/stash");
        let reference = reference.map_err(|error| fault(work_tree, &error))?;
        let Some(id) = reference.and_then(|found| found.try_id().map(gix::Id::detach)) else {
            return Ok(None);
        };
        Ok(Self::of(gix, id))
    }

    fn of(gix: gix::Repository, id: ObjectId) -> Option<Self> {
        let commit = bounded(&gix, id, Kind::Commit)?.try_into_commit().ok()?;
        let mut parents = commit.parent_ids().map(gix::Id::detach);
        // The commit, its index, and with --include-untracked the untracked files.
        let (base, _index, untracked) = (parents.next()?, parents.next()?, parents.next());
        let (seconds, work) = (commit.time().ok()?.seconds, commit.tree_id().ok()?.detach());
        let base = tree_of(&gix, base)?;
        let untracked = untracked.and_then(|id| tree_of(&gix, id));
        drop(parents);
        drop(commit);
        Some(Self {
            gix,
            seconds,
            work,
            base,
            untracked,
        })
    }

    /// The blob of a tracked file whose changes the stash took.
    pub(super) fn tracked(&self, path: &Path, loss: &Loss) -> Option<ObjectId> {
        let blob = self.blob(self.work, path, loss)?;
        let before = blob_at(&self.gix, self.base, path);
        (before != Some(blob)).then_some(blob)
    }

    /// The blob of an untracked file that the stash took.
    pub(super) fn untracked(&self, path: &Path, loss: &Loss) -> Option<ObjectId> {
        self.blob(self.untracked?, path, loss)
    }

    fn blob(&self, tree: ObjectId, path: &Path, loss: &Loss) -> Option<ObjectId> {
        if loss.modified.seconds > self.seconds {
            return None;
        }
        blob_at(&self.gix, tree, path)
    }
}

/// An object of the kind, if it is short enough to be decoded.
fn bounded(gix: &gix::Repository, id: ObjectId, kind: Kind) -> Option<gix::Object<'_>> {
    let header = gix.try_find_header(id).ok()??;
    let is_right = header.kind() == kind && header.size() <= MOST_OBJECT;
    is_right.then(|| gix.try_find_object(id).ok()).flatten()?
}

fn tree_of(gix: &gix::Repository, commit: ObjectId) -> Option<ObjectId> {
    let commit = bounded(gix, commit, Kind::Commit)?;
    Some(commit.try_into_commit().ok()?.tree_id().ok()?.detach())
}

fn blob_at(gix: &gix::Repository, tree: ObjectId, path: &Path) -> Option<ObjectId> {
    let mut id = tree;
    let mut components = path.components().peekable();
    while let Some(component) = components.next() {
        let tree = bounded(gix, id, Kind::Tree)?.try_into_tree().ok()?;
        let entry = tree.find_entry(component.as_os_str().as_bytes())?;
        let is_last = components.peek().is_none();
        if is_last != entry.mode().is_blob() {
            return None;
        }
        id = entry.object_id();
    }
    Some(id)
}
