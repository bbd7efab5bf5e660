//! Matches what was read of a command line with a rule's patterns.
//!
//! Not here: how a command line is read (`options`).

use super::options::{Item, Reading, Setting, Takes};
use super::patterns::Pattern;
use crate::config::alternatives;

/// Most arguments that are compared: more than a hand-written command has.
const MOST: usize = 4096;

/// One word of a rule.
#[derive(Clone, Debug)]
pub(super) enum Word {
    /// One of several patterns.
    One(Vec<Pattern>),
    /// Any number of words.
    Any,
}

impl Word {
    /// Compiles a word. Words are compared without regard to case.
    pub(super) fn new(pattern: &str) -> Self {
        if pattern == "**" {
            return Self::Any;
        }
        Self::One(Pattern::all(pattern, true))
    }

    pub(super) fn is(&self, argument: &str) -> bool {
        match self {
            Self::Any => true,
            Self::One(patterns) => patterns.iter().any(|it| it.is(argument)),
        }
    }
}

/// An argument pattern of a rule, compared with regard to case.
#[derive(Clone, Debug)]
pub(super) enum Argument {
    /// An option by its name, with a pattern for its value.
    Option {
        name: String,
        value: Option<Pattern>,
    },
    /// The argument as it is.
    Text(Pattern),
}

impl Argument {
    /// The alternatives of a pattern.
    pub(super) fn all(pattern: &str) -> Vec<Self> {
        alternatives(pattern).filter_map(Self::new).collect()
    }

    fn new(pattern: &str) -> Option<Self> {
        let (name, value) = match pattern.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (pattern, None),
        };
        if name.len() < 2 || !name.starts_with('-') || name.contains(['*', '?']) {
            return Some(Self::Text(Pattern::new(pattern, false)?));
        }
        Some(Self::Option {
            name: name.to_owned(),
            value: match value {
                Some(value) => Some(Pattern::new(value, false)?),
                None => None,
            },
        })
    }

    /// Whether the text is that of the pattern: a name, no argument.
    pub(super) fn is(&self, text: &str) -> bool {
        match self {
            Self::Option { name, .. } => name == text,
            Self::Text(pattern) => pattern.is(text),
        }
    }

    /// Whether an argument matches in some reading.
    pub(super) fn is_in(&self, items: &[Item<'_>], reading: &Reading) -> bool {
        match self {
            Self::Option { name, value } => items.iter().enumerate().any(|(at, item)| {
                let next = match (item, items.get(at + 1)) {
                    (
                        Item::Option {
                            takes: Takes::Unknown,
                            ..
                        },
                        Some(Item::Operand(next)),
                    ) => Some(*next),
                    _ => None,
                };
                let mut settings = item.settings().iter();
                settings.any(|it| {
                    reading.is_named(&it.name, name)
                        && match value {
                            Some(pattern) => {
                                it.value.or(next).is_some_and(|it| is_value(pattern, it))
                            }
                            None => !it.value.is_some_and(denies),
                        }
                })
            }),
            Self::Text(pattern) => items.iter().any(|item| match item {
                Item::Option { raw, .. } => pattern.is(raw),
                Item::Value(text) | Item::Operand(text) => pattern.is(text),
                Item::End => false,
            }),
        }
    }

    /// Whether the command surely has the argument, and does not take it back.
    pub(super) fn is_surely_in(&self, items: &[Item<'_>], reading: &Reading) -> bool {
        let (name, value) = match self {
            Self::Option { name, value } => (name, value),
            Self::Text(pattern) => {
                return items.iter().any(|item| match item {
                    Item::Option { raw, .. } => pattern.is(raw),
                    Item::Operand(text) => pattern.is(text),
                    Item::Value(_) | Item::End => false,
                });
            }
        };
        let settings = items
            .iter()
            .flat_map(Item::settings)
            .filter(|it| it.is_sure);
        let says = |it: &Setting<'_>| {
            if it
                .name
                .strip_prefix("--no-")
                .is_some_and(|it| name.strip_prefix("--") == Some(it))
            {
                return Some(false);
            }
            reading.is_named(&it.name, name).then(|| match value {
                Some(pattern) => it.value.is_some_and(|it| is_value(pattern, it)),
                None => it.value.is_none_or(affirms),
            })
        };
        settings.filter_map(says).next_back().unwrap_or(false)
    }
}

/// A value may stand behind `=` with a single letter, too.
fn is_value(pattern: &Pattern, value: &str) -> bool {
    pattern.is(value) || value.strip_prefix('=').is_some_and(|it| pattern.is(it))
}

fn denies(value: &str) -> bool {
    const NO: &[&str] = &["false", "f", "0", "no", "n", "off", "none"];
    NO.contains(&value.to_ascii_lowercase().as_str())
}

fn affirms(value: &str) -> bool {
    const YES: &[&str] = &["true", "t", "1", "yes", "y", "on"];
    YES.contains(&value.to_ascii_lowercase().as_str())
}

/// Where the words that are no options can have matched: positions behind them.
pub(super) fn ends(words: &[Word], until: &[Word], most: usize, items: &[Item<'_>]) -> Vec<usize> {
    let items = &items[..items.len().min(MOST)];
    // Positions in the rule that can be next, for each argument and the end, with the
    // words that were passed.
    let width = words.len() + 1;
    let mut reached = vec![None; (items.len() + 2) * width];
    reached[0] = Some(0);
    let mut ends = Vec::new();
    for at in 0..=items.len() {
        for word in 0..width {
            let Some(passed) = reached[at * width + word] else {
                continue;
            };
            if word == words.len() {
                ends.push(at);
                continue;
            }
            let mut reach = |at: usize, word: usize, passed: usize| {
                let place = &mut reached[at.min(items.len()) * width + word];
                *place = Some(place.map_or(passed, |it: usize| it.min(passed)));
            };
            let is_any = matches!(words[word], Word::Any);
            if is_any {
                reach(at, word + 1, passed);
            }
            match items.get(at) {
                None => {}
                Some(Item::End) => reach(at + 1, word, passed),
                Some(Item::Option { takes, .. }) => {
                    if *takes != Takes::Next {
                        reach(at + 1, word, passed);
                    }
                    if *takes != Takes::Nothing {
                        reach(at + 2, word, passed);
                    }
                }
                // A value is reached where the option before it is the value of another.
                Some(Item::Operand(text) | Item::Value(text)) => {
                    if !is_any && words[word].is(text) {
                        reach(at + 1, word + 1, passed);
                    }
                    let is_passed = passed < most && !until.iter().any(|it| it.is(text));
                    if is_any && is_passed {
                        reach(at + 1, word, passed + 1);
                    }
                }
            }
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::GateRule;

    fn ends_of(words: &[&str], until: &[&str], line: &str) -> Vec<usize> {
        let compiled = |words: &[&str]| words.iter().map(|it| Word::new(it)).collect::<Vec<_>>();
        let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let items = Reading::default();
        let items = items.items(&arguments);
        ends(&compiled(words), &compiled(until), MOST, &items)
    }

    fn begins(words: &[&str], line: &str) -> bool {
        !ends_of(words, &[], line).is_empty()
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
    fn words_in_between_are_passed_up_to_one_that_only_reads() {
        assert!(begins(&["**", "delete"], "compute instances delete x"));
        assert!(begins(&["**", "delete"], "delete"));
        assert!(!begins(
            &["**", "delete"],
            "compute instances list --filter=delete"
        ));
        assert!(ends_of(&["**", "delete"], &["list|get"], "instances list delete").is_empty());
        assert_eq!(
            ends_of(&["**", "delete"], &["list"], "instances delete list"),
            [2]
        );
    }

    fn found(pattern: &str, rule: &GateRule, line: &str) -> (bool, bool) {
        let reading = Reading::for_rule(None, rule);
        let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let items = reading.items(&arguments);
        let patterns = Argument::all(pattern);
        (
            patterns.iter().any(|it| it.is_in(&items, &reading)),
            patterns.iter().any(|it| it.is_surely_in(&items, &reading)),
        )
    }

    #[test]
    fn what_accuses_is_found_among_other_letters() {
        let is = |argument: &str| found("-f|--force|+*", &GateRule::default(), argument).0;
        assert!(is("-f") && is("-uf") && is("--force") && is("--force=true") && is("+main"));
        assert!(!is("-F") && !is("--f") && !is("--forced") && !is("main") && !is("--force=false"));
        let rule = GateRule {
            any: vec!["-X=DELETE".to_owned()],
            ..GateRule::default()
        };
        let is = |argument: &str| found("-X=DELETE", &rule, argument).0;
        assert!(is("-X DELETE") && is("-XDELETE") && is("-X=DELETE"));
        assert!(!is("-X GET") && !is("DELETE") && !is("-o DELETE"));
    }

    #[test]
    fn what_excuses_is_an_option_of_its_own() {
        let rule = GateRule {
            values: vec!["-L|--label".to_owned()],
            flags: vec!["-v".to_owned()],
            unless: vec!["-h|-n|--dry-run|--dry-run=client|help".to_owned()],
            ..GateRule::default()
        };
        let is = |line: &str| found("-h|-n|--dry-run|--dry-run=client|help", &rule, line).1;
        for line in [
            "-h",
            "-vn",
            "x --dry-run",
            "--dry-run=true",
            "--dry-run=client",
            "help",
            "-L x -n",
        ] {
            assert!(is(line), "{line}");
        }
        for line in [
            "-refresh",
            "-Lmain",
            "-L -n",
            "--label --dry-run",
            "--label help",
            "-xn",
            "-- -n",
            "--dry-run=false",
            "--dry-run=none",
            "--dry-run --dry-run=false",
            "--dry-run --no-dry-run",
            "--helpful",
        ] {
            assert!(!is(line), "{line}");
        }
    }
}
