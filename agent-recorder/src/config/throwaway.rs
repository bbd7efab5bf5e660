//! What may be thrown away, and what brings it back: the built-in names.
//!
//! Not here: what the guard makes of them (`guard::policy`).

use std::path::PathBuf;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::built_in::THROWAWAY;

/// `throwaway.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Throwaway {
    /// Names of directories whose contents some tool makes again; `parent/name` is one only there.
    pub directories: Vec<String>,
    /// Endings of files that are made beside their sources.
    pub suffixes: Vec<String>,
    /// Directories for what is not kept.
    pub temporary: Vec<String>,
    /// What git(1) does to a working tree that its object store can undo.
    pub git_verbs: Vec<String>,
    /// Where git may be, beside `PATH`.
    pub git_files: Vec<PathBuf>,
}

impl Throwaway {
    /// As the file has it.
    pub fn built_in() -> &'static Self {
        static READ: LazyLock<Throwaway> = LazyLock::new(|| THROWAWAY.read());
        &READ
    }

    /// Whether `keep` can name it.
    pub fn is_known(&self, name: &str) -> bool {
        let Self {
            directories,
            suffixes,
            temporary,
            git_verbs,
            git_files: _,
        } = self;
        [directories, suffixes, temporary, git_verbs]
            .iter()
            .any(|names| names.iter().any(|known| known == name))
    }
}
