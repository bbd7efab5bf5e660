//! `target/passed-commit`: the commit whose tests all passed, for callers that need
//! to know whether their sources were tested.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::step::{self, say};
use crate::workspace;

/// Its name in `target`.
const FILE: &str = "passed-commit";

/// A run of the tests that may pass as a whole.
pub(super) struct Candidate {
    file: PathBuf,
    before: Option<String>,
}

impl Candidate {
    /// Removes the result of an earlier run.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub(super) fn begin() -> Result<Self> {
        Self::in_file(workspace::target(FILE), clean_commit(&workspace::root()))
    }

    fn in_file(file: PathBuf, before: Option<String>) -> Result<Self> {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("remove {}", file.display()))?;
            }
            _ => {}
        }
        Ok(Self { file, before })
    }

    /// Writes the commit after a run that passed as a whole, if the work tree was
    /// that commit's at the beginning and still is.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) fn passed(self) -> Result<()> {
        let now = clean_commit(&workspace::root());
        self.passed_as(now)
    }

    fn passed_as(self, now: Option<String>) -> Result<()> {
        let Some(commit) = now.filter(|now| Some(now) == self.before.as_ref()) else {
            say("what passed is no commit: the work tree differs from it, or did");
            return Ok(());
        };
        fs::write(&self.file, format!("{commit}\n"))
            .with_context(|| format!("write {}", self.file.display()))?;
        say(&format!("{} holds {commit}", self.file.display()));
        Ok(())
    }
}

/// The commit of a work tree without changes. `None` where a file was changed or
/// added, or git does not know the tree.
fn clean_commit(tree: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        step::output(git.arg("-C").arg(tree).args(arguments)).ok()
    };
    if !git(&["status", "--porcelain"])?.is_empty() {
        return None;
    }
    Some(git(&["rev-parse", "HEAD"])?.trim().to_owned())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::process::Command;

    use super::*;

    fn run(before: Option<&str>, now: Option<&str>) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        fs::write(&file, "older\n").unwrap();
        let candidate = Candidate::in_file(file.clone(), before.map(str::to_owned)).unwrap();
        assert!(!file.exists(), "it stays while the tests run");
        candidate.passed_as(now.map(str::to_owned)).unwrap();
        fs::read_to_string(file).ok()
    }

    #[test]
    fn only_one_and_the_same_commit_from_begin_to_end_has_passed() {
        assert_eq!(run(Some("a"), Some("a")).as_deref(), Some("a\n"));
        assert_eq!(run(Some("a"), Some("b")), None);
        assert_eq!(run(None, Some("a")), None);
        assert_eq!(run(Some("a"), None), None);
        assert_eq!(run(None, None), None);
    }

    #[test]
    fn a_work_tree_with_a_change_or_a_new_file_is_no_commit() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path();
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"];
            let mut git = Command::new("git");
            git.arg("-C").arg(tree).args(identity).args(arguments);
            step::output(&mut git).unwrap()
        };
        assert_eq!(clean_commit(tree), None);
        git(&["init", "-q"]);
        fs::write(tree.join("a"), "1").unwrap();
        git(&["add", "a"]);
        assert_eq!(clean_commit(tree), None);
        git(&["commit", "-q", "-m", "one"]);
        let commit = clean_commit(tree).unwrap();
        assert_eq!(commit.len(), 40);
        fs::write(tree.join("a"), "2").unwrap();
        assert_eq!(clean_commit(tree), None);
        git(&["checkout", "-q", "a"]);
        assert_eq!(clean_commit(tree), Some(commit));
        fs::write(tree.join("b"), "1").unwrap();
        assert_eq!(clean_commit(tree), None);
    }
}
