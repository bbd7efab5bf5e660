//! The names that objects had before a session renamed them: an object is judged by the
//! place where others put it.
//!
//! Not here: renames in the kernel programs, which know objects and no paths.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::record::proto;

/// Most renames of a session that are remembered. Objects of earlier ones are judged by
/// the names that they have now.
const MOST: usize = 1024;
/// Most names of the session's own objects that are remembered.
const MOST_OWN: usize = 4096;

/// The renames of a session.
#[derive(Clone, Debug, Default)]
pub struct Renames {
    /// Of objects that the session did not make, oldest first.
    moves: VecDeque<(PathBuf, PathBuf)>,
    /// Names of objects that it made. One that takes the name of another's object is
    /// judged as that one, at that name.
    own: HashSet<PathBuf>,
}

impl Renames {
    /// Notes what an operation means for names; one that failed means nothing.
    pub fn note(&mut self, file: &proto::File) {
        if file.error != 0 || file.path_truncated || file.new_path_truncated {
            return;
        }
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        match file.op() {
            proto::FileOp::Create | proto::FileOp::Mkdir if self.own.len() < MOST_OWN => {
                self.own.insert(path(&file.path));
            }
            proto::FileOp::Delete | proto::FileOp::Rmdir => {
                self.own.remove(&path(&file.path));
            }
            proto::FileOp::Rename => {
                let (old, new) = (path(&file.path), path(&file.new_path));
                if !self.own.remove(&old) {
                    self.moved(old, new);
                } else if file.replaced != Some(true) {
                    self.own.insert(new);
                }
            }
            _ => {}
        }
    }

    fn moved(&mut self, old: PathBuf, new: PathBuf) {
        if self.moves.len() == MOST {
            self.moves.pop_front();
        }
        self.moves.push_back((old, new));
    }

    /// The path that an object had before all renames.
    pub fn original(&self, path: &Path) -> PathBuf {
        let moves = self.moves.iter().rev();
        moves.fold(path.to_owned(), |path, (old, new)| {
            match path.strip_prefix(new) {
                Ok(rest) if rest.as_os_str().is_empty() => old.clone(),
                Ok(rest) => old.join(rest),
                Err(_) => path,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(all: &[(&str, &str)]) -> Renames {
        let mut renames = Renames::default();
        for (old, new) in all {
            let file = proto::File {
                op: proto::FileOp::Rename.into(),
                path: old.as_bytes().to_vec(),
                new_path: new.as_bytes().to_vec(),
                ..proto::File::default()
            };
            renames.note(&file);
        }
        renames
    }

    #[test]
    fn an_object_is_found_where_it_was_before_all_renames() {
        let renames = renames(&[("/p/dist", "/p/old"), ("/p/old/a", "/q/b")]);
        let original = |path: &str| renames.original(Path::new(path));
        assert_eq!(original("/q/b/file"), Path::new("/p/dist/a/file"));
        assert_eq!(original("/p/old"), Path::new("/p/dist"));
        assert_eq!(original("/p/older"), Path::new("/p/older"));
    }

    #[test]
    fn a_file_of_the_session_is_judged_where_it_took_a_name() {
        let mut renames = Renames::default();
        let file = |op: proto::FileOp, path: &str, new_path: &str| proto::File {
            op: op.into(),
            path: path.as_bytes().to_vec(),
            new_path: new_path.as_bytes().to_vec(),
            replaced: Some(true),
            ..proto::File::default()
        };
        renames.note(&file(proto::FileOp::Create, "/p/new", ""));
        renames.note(&file(proto::FileOp::Rename, "/p/new", "/p/doc"));
        assert_eq!(renames.original(Path::new("/p/doc")), Path::new("/p/doc"));
        renames.note(&file(proto::FileOp::Rename, "/q/theirs", "/p/doc"));
        let theirs = Path::new("/q/theirs");
        assert_eq!(renames.original(Path::new("/p/doc")), theirs);
    }
}
