//! The error of a configuration as one line: file, line, column, message.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// An invalid value, and the reason.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The keys that cause the error, as `guard.protect.0.path`. Some may be unset,
    /// because a value can contradict a default.
    keys: Vec<String>,
    why: String,
}

impl Wrong {
    pub(super) fn new(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            keys: vec![key.into()],
            why: why.into(),
        }
    }

    /// Adds another key that contradicts the value.
    pub(super) fn with(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }
}

/// An error of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The contents are invalid.
    #[error("{path}:{line}:{column}: {what}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column, from 1, in characters.
        column: usize,
        /// The message.
        what: String,
    },
}

impl Error {
    /// An error of the TOML syntax, of an unknown key, or of a type.
    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let what = error.message().lines().collect::<Vec<_>>().join("; ");
        Self::at(path, text, at, what)
    }

    /// An error of a value. Its position is the line of the first of the keys that is
    /// set.
    pub(super) fn value(path: &Path, text: &str, wrong: &Wrong) -> Self {
        let at = wrong.keys.iter().find_map(|key| place_of(text, key));
        let name = wrong.keys.first().map_or("", |key| name_of(key));
        let what = format!("`{name}` {}", wrong.why);
        Self::at(path, text, at.unwrap_or(0), what)
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

/// The last part of a key that is not an index: the name for people.
fn name_of(key: &str) -> &str {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = key.rsplit('.');
    parts.find(|part| !is_number(part)).unwrap_or(key)
}

/// The offset of a key, or of an array's element, in the text.
fn place_of(text: &str, key: &str) -> Option<usize> {
    let document = DeTable::parse(text).ok()?;
    let mut parts = key.split('.').peekable();
    let mut place = None;
    let mut value = Spanned::new(document.span(), DeValue::Table(document.into_inner()));
    while let Some(part) = parts.next() {
        value = match value.into_inner() {
            DeValue::Table(table) => {
                let (key, value) = table.into_iter().find(|(key, _)| key.get_ref() == part)?;
                place = Some(key.span().start);
                value
            }
            DeValue::Array(array) => {
                let value = array.into_iter().nth(part.parse().ok()?)?;
                if parts.peek().is_none() {
                    place = Some(value.span().start);
                }
                value
            }
            _ => return None,
        };
    }
    place
}
