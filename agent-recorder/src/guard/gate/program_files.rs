//! The gated programs' files on this host. The inode shows a renamed program; size
//! and contents show a copy.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use agent_recorder_abi::policy::PlaceKey;

use super::rules::Rules;
use crate::config::ExecGate;
use crate::guard::places::Mounts;

/// Most files: the kernel's table has 512, some of them the guard's.
const MOST: usize = 480;

/// The files that exist, by the position of their program.
#[derive(Debug, Default)]
pub(super) struct ProgramFiles {
    files: Vec<(usize, PathBuf, u64)>,
}

impl ProgramFiles {
    /// Finds the files that exist now.
    pub(super) fn find(rules: &Rules) -> Self {
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::env::split_paths(&on_path);
        Self::find_in(
            directories.chain(ExecGate::built_in().programs.directories.iter().cloned()),
            rules,
        )
    }

    fn find_in(directories: impl Iterator<Item = PathBuf>, rules: &Rules) -> Self {
        let mut directories: Vec<_> = directories
            .filter_map(|directory| fs::canonicalize(directory).ok())
            .collect();
        directories.sort();
        directories.dedup();
        let mut files = Vec::new();
        for directory in &directories {
            // A directory that cannot be read has no programs for anybody here.
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            for entry in entries {
                let called = entry.file_name();
                let Some((position, name)) = called.to_str().and_then(|it| rules.program(it))
                else {
                    continue;
                };
                let Ok(file) = fs::canonicalize(entry.path()) else {
                    continue;
                };
                if let Ok(about) = fs::metadata(&file)
                    && about.is_file()
                    && is_called(&file, name)
                    && is_binary(&file)
                {
                    files.push((position, file, about.len()));
                }
            }
        }
        // The order of a directory's entries says nothing.
        files.sort();
        files.truncate(MOST);
        Self { files }
    }

    /// Keys of the files, with the kernel's values.
    pub(super) fn keys(&self, rules: &Rules) -> BTreeMap<[u64; 2], (PlaceKey, u32)> {
        let mounts = Mounts::read();
        let keys = self.files.iter().filter_map(|(position, file, _)| {
            let key = mounts.key_of(file)?;
            Some((
                [u64::from(key.dev), key.ino],
                (key, rules.triggers.value(*position)),
            ))
        });
        keys.collect()
    }

    /// Sizes of the files, bytes. Where two programs have one size, the kernel stops
    /// it as the first.
    pub(super) fn sizes(&self, rules: &Rules) -> BTreeMap<u64, u32> {
        let mut sizes = BTreeMap::new();
        for (position, _, size) in &self.files {
            sizes
                .entry(*size)
                .or_insert(rules.triggers.value(*position));
        }
        sizes
    }

    /// The program whose copy this file is. The caller passes a file whose size is
    /// that of a gated program.
    pub(super) fn copied(&self, file: &Path) -> Option<usize> {
        let size = fs::metadata(file).ok()?.len();
        let mut of_size = self.files.iter().filter(|known| known.2 == size);
        of_size.find_map(|(position, known, _)| are_same(file, known).ok()?.then_some(*position))
    }
}

/// Whether a file's name is that of the program, perhaps with a version. A file of
/// another name can be many programs at once, as busybox(1) and snap(8) are, and does
/// not identify one.
fn is_called(file: &Path, name: &str) -> bool {
    let own = file.file_name().unwrap_or_default();
    own.as_encoded_bytes().starts_with(name.as_bytes())
}

/// Whether the kernel runs the file itself. For a script it runs the interpreter's
/// file.
fn is_binary(file: &Path) -> bool {
    let mut begin = [0; 4];
    File::open(file)
        .and_then(|mut file| io::Read::read_exact(&mut file, &mut begin))
        .is_ok_and(|()| &begin == b"\x7fELF")
}

fn are_same(one: &Path, other: &Path) -> io::Result<bool> {
    let mut one = BufReader::with_capacity(1 << 16, File::open(one)?);
    let mut other = BufReader::with_capacity(1 << 16, File::open(other)?);
    loop {
        let (left, right) = (one.fill_buf()?, other.fill_buf()?);
        let length = left.len().min(right.len());
        if left[..length] != right[..length] || left.is_empty() != right.is_empty() {
            return Ok(false);
        }
        if length == 0 {
            return Ok(true);
        }
        one.consume(length);
        other.consume(length);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::config::Gate;

    #[test]
    fn a_file_that_is_many_programs_is_none_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["busybox", "terraform-1.5", "psql-16.2"] {
            fs::write(at(name), b"\x7fELF").unwrap();
        }
        symlink("busybox", at("reboot")).unwrap();
        symlink("terraform-1.5", at("terraform")).unwrap();
        let rules = Rules::of(&Gate::default());
        let known = ProgramFiles::find_in(std::iter::once(directory.path().to_owned()), &rules);
        let names: Vec<_> = known
            .files
            .iter()
            .map(|(position, ..)| rules.triggers.programs[*position].0.as_str())
            .collect();
        assert_eq!(names, ["psql", "terraform", "terraform"]);
    }
}
