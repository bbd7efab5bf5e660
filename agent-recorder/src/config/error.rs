//! One line: file, line, column, what.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What makes no sense, and why.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The keys that are to blame, as `guard.protect.0.path`: not each need be
    /// set, for a value can be at odds with a default.
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

    /// Another key that it is at odds with.
    pub(super) fn with(mut self, key: impl Into<String>) -> Self {
        self.keys.push(key.into());
        self
    }
}

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

    /// Of a value: the line that sets the first of the keys that is set.
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

/// The last part of a key that is no number: what people call it.
fn name_of(key: &str) -> &str {
    let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = key.rsplit('.');
    parts.find(|part| !is_number(part)).unwrap_or(key)
}

/// Where a key, or an element of an array, is in the text.
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
