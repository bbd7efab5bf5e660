//! The rules in the kernel's form: which programs it stops, and by which of their
//! words.
//!
//! Not here: judging a stopped program (`rules`).

use std::collections::{BTreeMap, BTreeSet};

use agent_recorder_abi::agent_rule::{EXECUTABLE, RuleKey, SCRIPT};
use agent_recorder_abi::exec_gate::{ALWAYS, PROGRAM};
use agent_recorder_abi::limits::NAME_KEY_BYTES;
use agent_recorder_abi::policy::{NAME_GATE_WORD, NAME_INTERPRETER, NAME_MANY, NameKey};

use crate::config::{EVERY_PROGRAM, ExecGate, GateRule, alternatives};
use crate::guard::policy::key;
use crate::session::agents;

/// Most words: they share the kernel's table of names with the policy's.
const MOST_WORDS: usize = 200;
/// Most names with versions: they share the kernel's table with the agents' rules.
const MOST_VERSIONED: usize = 128;

/// What the kernel stops.
#[derive(Debug, Default)]
pub(super) struct Triggers {
    /// Names of the programs, numbered from 1, each with whether it is stopped
    /// whatever its arguments are.
    pub(super) programs: Vec<(String, bool)>,
    words: BTreeSet<[u8; NAME_KEY_BYTES]>,
    /// Names with a version, by the position of their program.
    versioned: Vec<(String, usize)>,
}

impl Triggers {
    /// The triggers of rules, and of programs that run others.
    pub(super) fn of(rules: &[GateRule], builtin: bool) -> Self {
        let mut programs = BTreeMap::new();
        let mut words = BTreeSet::new();
        let built_in = ExecGate::built_in();
        let is_built_in = |name: &String| built_in.rules.iter().any(|it| it.rule.name == *name);
        let is_frequent = |name: &String| built_in.programs.frequent.contains(name);
        // Every command that meets a rule has each of its words.
        let mut add = |names: &[String], patterns: &[String], all: bool| {
            let by_words = |name: &String| all || is_frequent(name);
            let keys = patterns.iter().rev().find_map(|it| triggers(it));
            let keys = keys.filter(|keys| words.len() + keys.len() <= MOST_WORDS);
            for name in names.iter().filter(|it| *it != EVERY_PROGRAM) {
                *programs.entry(name.clone()).or_insert(false) |= keys.is_none() || !by_words(name);
            }
            if names.iter().any(by_words) {
                words.extend(keys.into_iter().flatten().map(|key| key.name));
            }
        };
        for rule in rules.iter().filter(|it| !it.elsewhere) {
            add(&rule.programs, &rule.words, !is_built_in(&rule.name));
        }
        if builtin {
            for runner in built_in.runners.iter().filter(|it| !it.elsewhere) {
                add(&runner.programs, &runner.words, false);
            }
        }
        let programs: Vec<(String, bool)> = programs.into_iter().collect();
        let position = |name: &String| programs.iter().position(|(it, _)| it == name);
        let versioned = built_in.programs.versions.iter().flat_map(|known| {
            known.names.iter().filter_map(position).flat_map(|at| {
                let name = &programs[at].0;
                let names = known
                    .versions
                    .iter()
                    .flat_map(move |it| [format!("{name}{it}"), format!("{name}-{it}")]);
                names.map(move |name| (name, at))
            })
        });
        let mut versioned: Vec<_> = versioned.collect();
        versioned.truncate(MOST_VERSIONED);
        Self {
            words,
            versioned,
            programs,
        }
    }

    /// Whether the kernel knows a program by this name.
    pub(super) fn stops(&self, name: &str) -> bool {
        self.programs.iter().any(|(it, _)| it == name)
            || self.versioned.iter().any(|(it, _)| it == name)
    }

    /// The kernel's value for the program at this position.
    pub(super) fn value(&self, position: usize) -> u32 {
        let always = self
            .programs
            .get(position)
            .is_some_and(|(_, always)| *always);
        // The configuration was checked: there are at most MAX_GATED programs.
        let number = u32::try_from(position + 1).unwrap_or_default();
        number << PROGRAM | if always { ALWAYS } else { 0 }
    }

    /// Names of the programs, both as executables and as scripts.
    pub(super) fn for_kernel(&self) -> Vec<(RuleKey, u32)> {
        let names = self.programs.iter().enumerate();
        let names = names.flat_map(|(at, (name, _))| [(EXECUTABLE, name, at), (SCRIPT, name, at)]);
        let versioned = self
            .versioned
            .iter()
            .map(|(name, at)| (EXECUTABLE, name, *at));
        names
            .chain(versioned)
            .filter_map(|(kind, name, at)| {
                Some((agents::key(kind, name.as_bytes())?, self.value(at)))
            })
            .collect()
    }

    /// Words for which the kernel stops a program, and names of interpreters.
    pub(super) fn names(&self) -> Vec<(NameKey, u32)> {
        let known = &ExecGate::built_in().programs;
        let interpreters = known.interpreters.iter().map(|name| {
            let key = key(NAME_INTERPRETER, name);
            let is_many = known.multicall.contains(name);
            (key, if is_many { NAME_MANY } else { key.kind })
        });
        let words = self.words.iter().map(|name| {
            let key = NameKey {
                kind: NAME_GATE_WORD,
                name: *name,
            };
            (key, key.kind)
        });
        words.chain(interpreters).collect()
    }
}

/// The words one of which a command has that matches the pattern; `None` where they
/// are not known.
fn triggers(pattern: &str) -> Option<Vec<NameKey>> {
    alternatives(pattern).map(trigger).collect()
}

/// A word as the kernel compares it: in lower case, up to a blank or `=`, whole or up
/// to the first hyphen.
fn trigger(alternative: &str) -> Option<NameKey> {
    let lower = alternative.to_ascii_lowercase();
    let fits = |word: &str| !word.is_empty() && word.len() < NAME_KEY_BYTES;
    let literal = !lower.contains(['*', '?', '=', ' ']);
    let word = if literal && fits(&lower) {
        lower.as_str()
    } else {
        // The pattern has to be literal up to its hyphen.
        let (before, _) = lower.split_once('-')?;
        before
    };
    (fits(word) && !word.contains(['*', '?', '=', ' '])).then(|| key(NAME_GATE_WORD, word))
}

#[cfg(test)]
impl Triggers {
    /// The program that the kernel knows by this name.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let exact = self.programs.iter().position(|(it, _)| it == name);
        let versioned = self.versioned.iter().find(|(it, _)| it == name);
        exact.or(versioned.map(|(_, at)| *at))
    }

    /// Number of words.
    pub(super) fn words(&self) -> usize {
        self.words.len()
    }

    /// Whether the kernel stops the program with these arguments.
    pub(super) fn stops_with(&self, name: &str, arguments: &[String]) -> bool {
        let Some((_, always)) = self.programs.iter().find(|(it, _)| it == name) else {
            return false;
        };
        let is_word = |argument: &String| {
            let lower = argument.to_ascii_lowercase();
            let word = lower.split(['=', ' ']).next().unwrap_or_default();
            let has = |word: &str| {
                !word.is_empty() && self.words.contains(&key(NAME_GATE_WORD, word).name)
            };
            let hyphen = word
                .get(1..)
                .and_then(|it| it.find('-'))
                .map(|at| &word[..=at]);
            has(word) || hyphen.is_some_and(has)
        };
        *always || arguments.iter().any(is_word)
    }
}
