//! Files that may be thrown away, and commands that restore files: the built-in
//! names.
//!
//! Not here: the guard's use of the names (`guard::policy`).

use std::path::PathBuf;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::built_in::THROWAWAY;

/// `throwaway.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Throwaway {
    /// Names of directories whose contents a tool creates again. `parent/name`
    /// matches below that parent only.
    pub directories: Vec<String>,
    /// The same, of names that people use as well: they count while the judge lives.
    pub judged_directories: Vec<String>,
    /// Suffixes of files that are created beside their sources.
    pub suffixes: Vec<String>,
    /// Temporary directories.
    pub temporary: Vec<String>,
    /// Verbs of git(1) whose changes of a working tree its object store can undo.
    pub git_verbs: Vec<String>,
    /// Files of git(1), beside `PATH`.
    pub git_files: Vec<PathBuf>,
}

impl Throwaway {
    /// The built-in file.
    pub fn built_in() -> &'static Self {
        static READ: LazyLock<Throwaway> = LazyLock::new(|| THROWAWAY.read());
        &READ
    }

    /// Whether `keep` can contain the name.
    pub fn is_known(&self, name: &str) -> bool {
        let Self {
            directories,
            judged_directories,
            suffixes,
            temporary,
            git_verbs,
            git_files: _,
        } = self;
        [
            directories,
            judged_directories,
            suffixes,
            temporary,
            git_verbs,
        ]
        .iter()
        .any(|names| names.iter().any(|known| known == name))
    }
}
