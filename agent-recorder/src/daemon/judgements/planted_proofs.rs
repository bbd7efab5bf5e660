//! Proofs that a session made itself where there were none: project files, cache tags and
//! repositories. They say nothing about files that were there before.
//!
//! Not here: what they would prove (`guard::judge`).

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::guard::judge;
use crate::record::proto;

/// Most names that are remembered. A session that makes more proofs is not believed in any.
const MOST: usize = 4096;

/// Names that could prove something, and that the session made.
#[derive(Clone, Debug, Default)]
pub(super) struct Planted {
    made: HashSet<PathBuf>,
    /// Names that others made, and that the session removed: git(1) writes what it checks
    /// out anew.
    before: HashSet<PathBuf>,
}

impl Planted {
    /// Notes what a record says about names of proofs.
    pub(super) fn note(&mut self, file: &proto::File) {
        if file.error != 0 {
            return;
        }
        match file.op() {
            proto::FileOp::Create | proto::FileOp::Mkdir => self.made(&file.path),
            proto::FileOp::Symlink => self.made(&file.path),
            proto::FileOp::Link => self.made(&file.new_path),
            proto::FileOp::Rename if file.replaced != Some(true) => self.made(&file.new_path),
            proto::FileOp::Delete | proto::FileOp::Rmdir => self.removed(&file.path),
            _ => {}
        }
    }

    fn made(&mut self, path: &[u8]) {
        let path = Path::new(OsStr::from_bytes(path));
        if may_prove(path) && !self.before.contains(path) && self.made.len() < MOST {
            self.made.insert(path.to_owned());
        }
    }

    fn removed(&mut self, path: &[u8]) {
        let path = Path::new(OsStr::from_bytes(path));
        if may_prove(path) && !self.made.contains(path) && self.before.len() < MOST {
            self.before.insert(path.to_owned());
        }
    }

    /// Answers whether the session made a proof.
    pub(super) fn predicate(&self) -> Arc<dyn Fn(&Path) -> bool + Send + Sync> {
        let made = self.made.clone();
        let is_full = made.len() == MOST;
        Arc::new(move |path| is_full || made.contains(&below_root(path)))
    }
}

fn may_prove(path: &Path) -> bool {
    path.file_name().is_some_and(judge::may_prove)
}

/// A path without the `/proc/PID/root` by which the recorder reaches another namespace.
fn below_root(path: &Path) -> PathBuf {
    let mut parts = path.iter();
    let is_other = parts.next() == Some("/".as_ref())
        && parts.next() == Some("proc".as_ref())
        && parts.next().is_some()
        && parts.next() == Some("root".as_ref());
    if is_other {
        Path::new("/").join(parts.as_path())
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(op: proto::FileOp, path: &str) -> proto::File {
        proto::File {
            op: op.into(),
            path: path.as_bytes().to_vec(),
            ..proto::File::default()
        }
    }

    #[test]
    fn a_marker_is_planted_where_there_was_none() {
        let mut planted = Planted::default();
        planted.note(&file(proto::FileOp::Create, "/a/package.json"));
        planted.note(&file(proto::FileOp::Create, "/a/index.js"));
        planted.note(&file(proto::FileOp::Delete, "/b/package.json"));
        planted.note(&file(proto::FileOp::Create, "/b/package.json"));
        planted.note(&file(proto::FileOp::Mkdir, "/c/.git"));
        let is_planted = planted.predicate();
        assert!(is_planted(Path::new("/a/package.json")));
        assert!(is_planted(Path::new("/proc/7/root/a/package.json")));
        assert!(!is_planted(Path::new("/b/package.json")));
        assert!(is_planted(Path::new("/c/.git")));
        assert!(planted.made.len() == 2, "index.js proves nothing");
    }
}
