//! The names that objects had before a session renamed them: an object is judged by the
//! place where others put it.
//!
//! Not here: renames in the kernel programs, which know objects and no paths.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::record::proto;

/// Most renames of a session that are remembered. Objects of earlier ones are judged by
/// the names that they have now.
const MOST: usize = 1024;

/// The renames of a session, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Renames(VecDeque<(PathBuf, PathBuf)>);

impl Renames {
    /// Notes a rename that succeeded; other operations say nothing here.
    pub fn note(&mut self, file: &proto::File) {
        let is_known = !file.path_truncated && !file.new_path_truncated;
        if file.op() != proto::FileOp::Rename || file.error != 0 || !is_known {
            return;
        }
        let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back((path(&file.path), path(&file.new_path)));
    }

    /// The path that an object had before all renames.
    pub fn original(&self, path: &Path) -> PathBuf {
        let renames = self.0.iter().rev();
        renames.fold(path.to_owned(), |path, (old, new)| {
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
}
