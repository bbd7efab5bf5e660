//! One line: file, line, column, what.

use std::path::{Path, PathBuf};

/// An error of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{path}:{line}:{column}: {what}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What.
        what: String,
    },
}

impl Error {
    /// Of TOML, or of a key or type that is not known.
    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let what = error.message().lines().collect::<Vec<_>>().join("; ");
        Self::at(path, text, at, what)
    }

    /// Of a value: the line that sets the key.
    pub(super) fn value(path: &Path, text: &str, key: &str, why: String) -> Self {
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let name = line.trim_start().strip_prefix(key).map(str::trim_start);
            if name.is_some_and(|rest| rest.starts_with('=')) {
                break;
            }
            at += line.len();
        }
        Self::at(path, text, at, format!("`{key}` {why}"))
    }

    fn at(path: &Path, text: &str, at: usize, what: String) -> Self {
        let before = text.get(..at).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Self::Wrong {
            path: path.to_owned(),
            line,
            column,
            what,
        }
    }
}
