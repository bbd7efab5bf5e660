//! The repository's rules for ignored files: `.gitignore` along the way and
//! `info/exclude`. The user's global excludes are not asked: they are for a person's
//! own files, which no tool makes again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use gix::index::State;
use gix::index::entry::Mode;
use gix::worktree::stack::state::ignore::Source;

use super::open::{fault, require_short_file};
use crate::guard::judge::loss::Fault;

/// Most bytes of one `.gitignore`.
const MOST_RULES: u64 = 1 << 20;

/// The rules, read as directories are asked for.
pub(super) struct Excludes {
    work_tree: PathBuf,
    gix: gix::Repository,
    stack: gix::worktree::Stack,
    /// Directories whose rules are short enough to be read.
    examined: HashSet<PathBuf>,
}

impl Excludes {
    pub(super) fn read(
        work_tree: &Path,
        gix: &gix::Repository,
        index: &State,
    ) -> Result<Self, Fault> {
        let source = Source::WorktreeThenIdMappingIfNotSkipped;
        let stack = gix
            .excludes(index, None, source)
            .map_err(|error| fault(work_tree, &error))?
            .detach();
        Ok(Self {
            work_tree: work_tree.to_owned(),
            gix: gix.clone(),
            stack,
            examined: HashSet::new(),
        })
    }

    /// Whether a path below the work tree, or a directory above it, is ignored.
    pub(super) fn ignores(&mut self, path: &Path, is_directory: bool) -> Result<bool, Fault> {
        if self.topmost(path)?.is_some() {
            return Ok(true);
        }
        let mode = if is_directory { Mode::DIR } else { Mode::FILE };
        self.matches(path, mode)
    }

    /// The topmost ignored directory above a path.
    pub(super) fn topmost(&mut self, path: &Path) -> Result<Option<PathBuf>, Fault> {
        let mut above: Vec<_> = path.ancestors().skip(1).collect();
        above.retain(|directory| !directory.as_os_str().is_empty());
        for directory in above.into_iter().rev() {
            if self.matches(directory, Mode::DIR)? {
                return Ok(Some(directory.to_owned()));
            }
        }
        Ok(None)
    }

    fn matches(&mut self, path: &Path, mode: Mode) -> Result<bool, Fault> {
        for directory in path.ancestors().skip(1) {
            if !self.examined.contains(directory) {
                let rules = self.work_tree.join(directory).join(".gitignore");
                require_short_file(&rules, MOST_RULES)?;
                self.examined.insert(directory.to_owned());
            }
        }
        let found = self.stack.at_path(path, Some(mode), &self.gix.objects);
        let found = found.map_err(|source| Fault::Unreadable {
            path: self.work_tree.join(path),
            source,
        })?;
        Ok(found.is_excluded())
    }
}
