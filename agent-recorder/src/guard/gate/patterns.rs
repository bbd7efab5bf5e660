//! Patterns of rules, compiled. Most are plain words, which need no matcher.
//!
//! Not here: what a pattern is compared with (`words`).

use globset::GlobMatcher;

use crate::config::{alternatives, glob};

/// One alternative of a pattern.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// A plain word.
    Word(String),
    /// A plain word in any case; it is in lower case here.
    AnyCase(String),
    /// With `*` or `?`.
    Glob(GlobMatcher),
}

impl Pattern {
    pub(super) fn new(alternative: &str, any_case: bool) -> Option<Self> {
        if alternative.contains(['*', '?']) {
            // The configuration was checked, so the pattern compiles.
            return Some(Self::Glob(
                glob(alternative, any_case).ok()?.compile_matcher(),
            ));
        }
        Some(if any_case {
            Self::AnyCase(alternative.to_lowercase())
        } else {
            Self::Word(alternative.to_owned())
        })
    }

    /// All alternatives of a pattern.
    pub(super) fn all(pattern: &str, any_case: bool) -> Vec<Self> {
        let all = alternatives(pattern).filter_map(|it| Self::new(it, any_case));
        all.collect()
    }

    pub(super) fn is_plain(&self) -> bool {
        !matches!(self, Self::Glob(_))
    }

    pub(super) fn is(&self, text: &str) -> bool {
        match self {
            Self::Word(word) => word == text,
            Self::AnyCase(word) => {
                if text.is_ascii() {
                    word.eq_ignore_ascii_case(text)
                } else {
                    *word == text.to_lowercase()
                }
            }
            Self::Glob(glob) => glob.is_match(text),
        }
    }
}
