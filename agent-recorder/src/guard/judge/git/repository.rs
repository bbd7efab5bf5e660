//! The repository of one work tree, opened once a judgement.
//!
//! A tracked file is held if the index says that it is the state that was staged, by
//! length, time and inode, and the object store has that object in that length. A length
//! alone proves nothing: a tracked file that differs is uncommitted work, and held only
//! by a stash that took it.
//!
//! HEAD is not asked. What git itself removes is in the index until all of it is gone
//! (git writes the index last), so a file that only HEAD has was taken out of the index
//! on purpose, and whether its contents are HEAD's cannot be known any more.
//!
//! Trusted: a program that forges an index entry of the right length, time and inode, and
//! the object, before it destroys the file. It could as well destroy slowly.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::ignored::Excludes;
use super::index::{Index, Tracked};
use super::lfs;
use super::open::{self, Opened};
use super::precious::is_precious;
use super::stash::Stash;
use crate::guard::judge::loss::{Act, Fault, Holder, Loss, Object};

/// How a repository stands to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guard::judge) enum Standing {
    /// Tracked, and its contents are an object.
    Kept,
    /// Tracked, and its contents are nowhere else.
    Differs,
    /// Not in the index.
    Untracked,
}

/// An opened repository.
pub(in crate::guard::judge) struct Repository {
    work_tree: PathBuf,
    opened: Opened,
    index: Index,
    /// Read when the first object asks.
    stash: Option<Option<Stash>>,
    excludes: Option<Excludes>,
}

impl Repository {
    pub(in crate::guard::judge) fn open(work_tree: &Path, root: &Path) -> Result<Self, Fault> {
        let opened = open::open(work_tree, root)?;
        let index = Index::read(work_tree, &opened)?;
        Ok(Self {
            work_tree: work_tree.to_owned(),
            opened,
            index,
            stash: None,
            excludes: None,
        })
    }

    /// How the repository stands to a lost object.
    pub(in crate::guard::judge) fn standing(&mut self, loss: &Loss) -> Result<Standing, Fault> {
        let relative = self.relative(&loss.path);
        let tracked = self.index.find(relative.as_os_str().as_bytes());
        let Tracked::At(entry) = tracked else {
            return Ok(match tracked {
                Tracked::Conflict => Standing::Differs,
                _ => Standing::Untracked,
            });
        };
        if loss.act == Act::Changed || loss.object != Object::File {
            return Ok(Standing::Differs);
        }
        if entry.is_state_of(loss) {
            let kept = self.has_blob(entry.blob, loss.size)
                || lfs::holds(&self.opened, entry.blob, loss.size);
            if kept {
                return Ok(Standing::Kept);
            }
        }
        let Some(blob) = self
            .stash()?
            .and_then(|stash| stash.tracked(&relative, loss))
        else {
            return Ok(Standing::Differs);
        };
        let kept = self.has_blob(blob, loss.size);
        Ok(if kept {
            Standing::Kept
        } else {
            Standing::Differs
        })
    }

    /// What holds an object that is not tracked. The rules for ignored files count if
    /// `is_project`. Contents that were changed in place have no state to compare, and
    /// are held only in a directory that is ignored as a whole.
    pub(in crate::guard::judge) fn untracked(
        &mut self,
        loss: &Loss,
        is_project: bool,
    ) -> Result<Holder, Fault> {
        if loss.object != Object::File {
            return Ok(Holder::Lost);
        }
        let is_changed = loss.act == Act::Changed;
        let relative = self.relative(&loss.path);
        if !is_changed {
            let stashed = self
                .stash()?
                .and_then(|stash| stash.untracked(&relative, loss));
            if stashed.is_some_and(|blob| self.has_blob(blob, loss.size)) {
                return Ok(Holder::Git);
            }
        }
        let name = loss.path.file_name().unwrap_or_default();
        if !is_project || is_precious(name) {
            return Ok(Holder::Lost);
        }
        let is_ignored = if is_changed {
            let above = self.ignored_above(&loss.path)?;
            above.is_some_and(|directory| !self.tracks_below(&directory))
        } else {
            self.excludes()?.ignores(&relative, false)?
        };
        Ok(if is_ignored {
            Holder::GitIgnored
        } else {
            Holder::Lost
        })
    }

    /// Whether the repository's rules ignore the directory.
    pub(in crate::guard::judge) fn ignores_directory(
        &mut self,
        path: &Path,
    ) -> Result<bool, Fault> {
        let relative = self.relative(path);
        self.excludes()?.ignores(&relative, true)
    }

    /// The topmost ignored directory above a path.
    pub(in crate::guard::judge) fn ignored_above(
        &mut self,
        path: &Path,
    ) -> Result<Option<PathBuf>, Fault> {
        let relative = self.relative(path);
        let found = self.excludes()?.topmost(&relative)?;
        Ok(found.map(|directory| self.work_tree.join(directory)))
    }

    /// Whether the index has an entry below the directory.
    pub(in crate::guard::judge) fn tracks_below(&self, directory: &Path) -> bool {
        let relative = self.relative(directory);
        self.index.has_below(relative.as_os_str().as_bytes())
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.work_tree)
            .unwrap_or(path)
            .to_owned()
    }

    fn has_blob(&self, blob: gix::ObjectId, size: u64) -> bool {
        let found = self.opened.gix.try_find_header(blob);
        // A store that cannot be read holds nothing.
        let found = found.ok().flatten();
        found.is_some_and(|header| header.kind() == gix::objs::Kind::Blob && header.size() == size)
    }

    fn stash(&mut self) -> Result<Option<&Stash>, Fault> {
        if self.stash.is_none() {
            self.stash = Some(Stash::read(&self.work_tree, &self.opened)?);
        }
        Ok(self.stash.as_ref().and_then(Option::as_ref))
    }

    fn excludes(&mut self) -> Result<&mut Excludes, Fault> {
        let excludes = match self.excludes.take() {
            Some(excludes) => excludes,
            None => Excludes::read(&self.work_tree, &self.opened.gix, self.index.state())?,
        };
        Ok(self.excludes.insert(excludes))
    }
}
