//! Commands that a program is given to run elsewhere, or in its own process: by
//! `docker exec`, ssh(1), `sh -c`.
//!
//! Not here: which of them are judged (`rules`), and a shell's text (`shell`).

use super::options::{Item, Reading, Takes, program_of};
use super::words::{Word, ends};
use crate::config::{Runner, alternatives};

/// Most commands that the words can mean.
const MOST: usize = 16;

/// What a program is given to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// A command and its arguments.
    Words(Vec<String>),
    /// A shell's text.
    Text(String),
}

/// A program that runs others.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) runner: &'static Runner,
    words: Vec<Word>,
    /// For each program, how its command line is read.
    readings: Vec<Reading>,
}

impl Compiled {
    pub(super) fn new(runner: &'static Runner) -> Self {
        Self {
            runner,
            readings: runner
                .programs
                .iter()
                .map(|it| Reading::for_runner(program_of(it), runner))
                .collect(),
            words: runner.words.iter().map(|it| Word::new(it)).collect(),
        }
    }

    /// The commands in the program's arguments, one for each way to read the options.
    pub(super) fn commands(&self, program: &str, arguments: &[String]) -> Vec<Behind> {
        let at = self.runner.programs.iter().position(|it| it == program);
        let Some(reading) = at.and_then(|at| self.readings.get(at)) else {
            return Vec::new();
        };
        let items = reading.items(arguments);
        let mut starts = Vec::new();
        let ends = ends(&self.words, &[], usize::MAX, &items);
        if ends.is_empty() {
            return Vec::new();
        }
        for end in ends {
            self.starts(&items, end, &mut starts);
        }
        starts.sort_unstable();
        starts.dedup();
        starts.truncate(MOST);
        let mut all = Vec::new();
        let value_of = |options: &[String]| {
            let names = || options.iter().flat_map(|it| alternatives(it));
            items.iter().enumerate().find_map(|(at, item)| {
                let mut settings = item.settings().iter();
                let set =
                    settings.find(|it| names().any(|name| reading.is_named(&it.name, name)))?;
                // A shell takes `--` for the end of its options.
                match set.value? {
                    "--" => arguments.get(at + 2).cloned(),
                    value => Some(value.to_owned()),
                }
            })
        };
        for (at, argument) in arguments.iter().enumerate() {
            let mut begins = self.runner.begins.iter().flat_map(|it| alternatives(it));
            if begins.any(|it| it == argument) {
                all.push(Behind::Words(arguments[at + 1..].to_vec()));
            }
        }
        all.truncate(MOST);
        if !self.runner.begins.is_empty() {
            return all;
        }
        if let Some(text) = value_of(&self.runner.text) {
            all.push(Behind::Text(text));
        }
        if let Some(program) = value_of(&self.runner.entry) {
            let start = starts.first().copied().unwrap_or(arguments.len());
            let own = arguments.get(start..).unwrap_or_default();
            all.push(Behind::Words(
                std::iter::once(program)
                    .chain(own.iter().cloned())
                    .collect(),
            ));
            return all;
        }
        all.extend(
            starts
                .into_iter()
                .filter(|start| *start < arguments.len())
                .map(|start| {
                    if self.runner.shell {
                        Behind::Text(arguments[start..].join(" "))
                    } else {
                        Behind::Words(arguments[start..].to_vec())
                    }
                }),
        );
        all
    }

    /// Positions at which the command can begin.
    fn starts(&self, items: &[Item<'_>], from: usize, starts: &mut Vec<usize>) {
        if self.runner.dashes
            && let Some(at) = items.iter().skip(from).position(|it| *it == Item::End)
        {
            starts.push(from + at + 1);
        }
        let mut next = vec![(from, 0)];
        let mut seen = Vec::new();
        while let Some((at, skipped)) = next.pop() {
            if seen.contains(&(at, skipped)) || seen.len() > 256 {
                continue;
            }
            seen.push((at, skipped));
            match items.get(at) {
                None => {
                    // An image can have a command of its own.
                    if skipped == self.runner.skip {
                        starts.push(at);
                    }
                }
                Some(Item::End) => next.push((at + 1, skipped)),
                Some(Item::Option { takes, .. }) => {
                    // Behind the words that come first an option can be the command's.
                    if self.runner.skip > 0 && skipped == self.runner.skip {
                        starts.push(at);
                    }
                    if *takes != Takes::Next {
                        next.push((at + 1, skipped));
                    }
                    if *takes != Takes::Nothing {
                        next.push((at + 2, skipped));
                    }
                }
                Some(Item::Operand(text) | Item::Value(text)) => {
                    if skipped < self.runner.skip {
                        next.push((at + 1, skipped + 1));
                    } else if self.runner.assignments && text.contains('=') {
                        next.push((at + 1, skipped));
                    } else {
                        starts.push(at);
                    }
                }
            }
        }
    }
}
