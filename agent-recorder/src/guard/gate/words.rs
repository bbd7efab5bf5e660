//! Matches arguments with a rule: parsed words, never substrings.
//!
//! Each program defines its own options, and only it knows whether an option takes
//! the next word as its value. So both readings of an option are tried, and one that
//! meets the rule is enough.

use globset::GlobMatcher;

use crate::config::{alternatives, glob};

/// Most arguments that are compared: more than a hand-written command has.
const MOST: usize = 4096;

/// One word of a rule.
#[derive(Clone, Debug)]
pub(super) enum Word {
    /// One of several patterns.
    One(Vec<GlobMatcher>),
    /// Any number of words.
    Any,
}

impl Word {
    /// Compiles a word. Words are compared without regard to case.
    pub(super) fn new(pattern: &str) -> Self {
        if pattern == "**" {
            return Self::Any;
        }
        Self::One(alternatives(pattern).filter_map(any_case).collect())
    }

    fn is(&self, argument: &str) -> bool {
        match self {
            Self::Any => true,
            Self::One(globs) => globs.iter().any(|glob| glob.is_match(argument)),
        }
    }
}

fn any_case(pattern: &str) -> Option<GlobMatcher> {
    // The configuration was checked, so the pattern compiles.
    Some(glob(pattern, true).ok()?.compile_matcher())
}

/// An argument pattern of a rule, compared with regard to case.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    glob: GlobMatcher,
    /// The letter of a short option: that of `-f` is also in `-uf`.
    letter: Option<char>,
}

impl Argument {
    /// The alternatives of a pattern.
    pub(super) fn all(pattern: &str) -> Vec<Self> {
        alternatives(pattern).filter_map(Self::new).collect()
    }

    fn new(pattern: &str) -> Option<Self> {
        let mut letters = pattern.strip_prefix('-').unwrap_or_default().chars();
        let letter = match (letters.next(), letters.next()) {
            (Some(letter), None) if letter.is_ascii_alphabetic() => Some(letter),
            _ => None,
        };
        Some(Self {
            glob: glob(pattern, false).ok()?.compile_matcher(),
            letter,
        })
    }

    pub(super) fn is(&self, argument: &str) -> bool {
        self.glob.is_match(argument) || self.letter.is_some_and(|letter| has(argument, letter))
    }
}

/// Whether an argument is a group of short options that contains this letter.
fn has(argument: &str, letter: char) -> bool {
    argument.strip_prefix('-').is_some_and(|letters| {
        !letters.is_empty()
            && letters.chars().all(|it| it.is_ascii_alphabetic())
            && letters.contains(letter)
    })
}

/// Whether the words that are no options begin with these.
pub(super) fn begin_with(words: &[Word], arguments: &[String]) -> bool {
    let arguments = &arguments[..arguments.len().min(MOST)];
    // Positions in the rule that can be next, for each argument and the end.
    let width = words.len() + 1;
    let mut reached = vec![false; (arguments.len() + 2) * width];
    reached[0] = true;
    for at in 0..=arguments.len() {
        for word in 0..width {
            if !reached[at * width + word] {
                continue;
            }
            if word == words.len() {
                return true;
            }
            if matches!(words[word], Word::Any) {
                reached[at * width + word + 1] = true;
            }
            let Some(argument) = arguments.get(at) else {
                continue;
            };
            let mut reach = |skipped: usize, word: usize| {
                reached[(at + skipped).min(arguments.len()) * width + word] = true;
            };
            if argument.len() > 1 && argument.starts_with(['-', '+']) {
                reach(1, word);
                if !argument.contains('=') && argument != "--" {
                    reach(2, word);
                }
            } else if matches!(words[word], Word::Any) {
                reach(1, word);
            } else if words[word].is(argument) {
                reach(1, word + 1);
            }
        }
    }
    false
}

/// Whether a statement begins with one of these words. Statements are the parts of an
/// argument, or of its value after `=`, between semicolons, without leading comments.
pub(super) fn states(first: &[Word], argument: &str) -> bool {
    let behind = argument.split_once('=').map(|(_, behind)| behind);
    [Some(argument), behind].into_iter().flatten().any(|text| {
        text.split(';').any(|statement| {
            let words = uncommented(statement);
            let word: String = words
                .chars()
                .take_while(|it| it.is_alphanumeric())
                .collect();
            !word.is_empty() && first.iter().any(|it| it.is(&word))
        })
    })
}

fn uncommented(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    loop {
        let after = if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map(|(_, after)| after)
        } else if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map(|(_, after)| after)
        } else {
            return rest;
        };
        rest = after.unwrap_or_default().trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begins(words: &[&str], line: &str) -> bool {
        let words: Vec<_> = words.iter().map(|word| Word::new(word)).collect();
        let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        begin_with(&words, &arguments)
    }

    #[test]
    fn options_before_a_word_may_have_a_value_or_none() {
        for line in [
            "delete pod",
            "-n prod delete pod",
            "--namespace=prod delete pod",
            "--context c --v 3 DELETE pod",
            "-A delete",
            "-- delete",
        ] {
            assert!(begins(&["delete"], line), "{line}");
        }
        for line in [
            "",
            "get delete",
            "get pods -o delete",
            "undelete x",
            "delete-all",
        ] {
            assert!(!begins(&["delete"], line), "{line}");
        }
        assert!(begins(
            &["ec2", "terminate-*|stop-*"],
            "--region x ec2 terminate-instances i"
        ));
        assert!(!begins(&["ec2", "terminate-*"], "ec2 describe terminate-x"));
    }

    #[test]
    fn words_in_between_are_told_of() {
        assert!(begins(&["**", "delete"], "compute instances delete x"));
        assert!(begins(&["**", "delete"], "delete"));
        assert!(!begins(
            &["**", "delete"],
            "compute instances list --filter=delete"
        ));
    }

    #[test]
    fn a_letter_is_found_among_others() {
        let force = Argument::all("-f|--force|+*");
        let is = |argument: &str| force.iter().any(|it| it.is(argument));
        assert!(is("-f") && is("-uf") && is("--force") && is("+main"));
        assert!(!is("-F") && !is("--f") && !is("--forced") && !is("main") && !is("-1f"));
    }

    #[test]
    fn a_statement_is_known_by_its_first_word() {
        let first = [Word::new("drop"), Word::new("truncate")];
        for text in [
            "drop table x",
            "SELECT 1; DROP TABLE x",
            "--command=drop table x",
            "/* it's */ -- or\n truncate x",
            "drop\ttable",
        ] {
            assert!(states(&first, text), "{text}");
        }
        for text in [
            "select 'drop table x'",
            "dropped",
            "-- drop table x",
            "",
            "create table drop_x",
        ] {
            assert!(!states(&first, text), "{text}");
        }
    }
}
