//! Reads the output of a suite's script in a guest (`script`): the results of the
//! tests, second runs, the tests' own sums, and the last test of a suite that did not
//! end.

use std::ops::AddAssign;
use std::time::Duration;

use serde::Deserialize;

use super::script::{AGAIN, ENDED, GROUP, TALLY};
use crate::libtest::{self, Verdict};
use crate::skips;
use crate::test::outcome::Outcome;
use crate::test::program::Group;
use crate::test::retry;

/// The sums of a suite's comparisons.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Tally {
    pub done: u64,
    pub recorded: u64,
    pub missing: u64,
    pub spurious: u64,
    pub lost: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.done += other.done;
        self.recorded += other.recorded;
        self.missing += other.missing;
        self.spurious += other.spurious;
        self.lost += other.lost;
    }
}

/// The output of one start of a program.
struct Section<'a> {
    /// Name of the group, or of the test that runs once more.
    name: &'a str,
    is_again: bool,
    said: &'a str,
}

impl<'a> Section<'a> {
    fn all(output: &'a str) -> impl Iterator<Item = Self> {
        // Each section begins with a line of its own; lines before the first are the
        // guest's.
        let starts: Vec<_> = output
            .match_indices('@')
            .filter(|(at, _)| *at == 0 || output.as_bytes()[at - 1] == b'\n')
            .map(|(at, _)| at)
            .filter(|at| output[*at..].starts_with(GROUP) || output[*at..].starts_with(AGAIN))
            .collect();
        let ends: Vec<_> = starts
            .iter()
            .skip(1)
            .copied()
            .chain([output.len()])
            .collect();
        starts.into_iter().zip(ends).map(move |(start, end)| {
            let (head, said) = output[start..end].split_once('\n').unwrap_or_default();
            let again = head.strip_prefix(AGAIN);
            let name = again.or_else(|| head.strip_prefix(GROUP)).unwrap_or(head);
            Self {
                name: name.trim(),
                is_again: again.is_some(),
                said,
            }
        })
    }

    /// Its exit status, and its time in seconds; `None` where the guest ended before
    /// it.
    fn ended(&self) -> Option<(i32, Duration)> {
        let line = self
            .said
            .lines()
            .find_map(|line| line.strip_prefix(ENDED))?;
        let (status, seconds) = line.trim().split_once(' ')?;
        Some((
            status.parse().ok()?,
            Duration::from_secs(seconds.parse().ok()?),
        ))
    }

    fn is_well(&self) -> bool {
        self.ended().is_some_and(|(status, _)| status == 0)
    }
}

/// The results of the groups in a guest. Tests without a line in the output count as
/// unfinished.
pub(super) fn read(output: &str, place: &str, groups: &[Group]) -> Outcome {
    let mut outcome = Outcome::of(place);
    outcome.skips = skips::in_tally(tallied(output));
    for group in groups {
        let tests = group.tests.iter();
        let unheard = tests.map(|test| (test.clone(), Verdict::Unfinished));
        outcome.verdicts.extend(unheard);
    }
    for section in Section::all(output) {
        if section.is_again {
            let test = [section.name.to_owned()];
            let verdicts = libtest::verdicts(&test, section.said, section.is_well());
            if verdicts.values().all(|verdict| !verdict.is_failure()) {
                retry::pardon(&mut outcome, section.name);
            }
        } else if let Some(group) = groups.iter().find(|group| group.name == section.name) {
            enter(&mut outcome, group, &section);
        }
    }
    outcome
}

fn enter(outcome: &mut Outcome, group: &Group, section: &Section<'_>) {
    let verdicts = libtest::verdicts(&group.tests, section.said, section.is_well());
    for (test, verdict) in verdicts {
        if verdict.is_failure() {
            let words = libtest::last_words(section.said, &test).unwrap_or("it did not end");
            outcome.words.insert(test.clone(), words.to_owned());
        }
        outcome.verdicts.insert(test, verdict);
    }
    if let Some((_, took)) = section.ended() {
        outcome.times.push((group.name.clone(), took));
    }
}

/// The sum of all comparisons in an output.
pub(super) fn tally(output: &str) -> Tally {
    let mut all = Tally::default();
    for line in tallied(output).filter_map(|line| serde_json::from_str::<Tally>(line).ok()) {
        all += line;
    }
    all
}

fn tallied(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter_map(|line| line.strip_prefix(TALLY))
}

/// The first failed test with its message, and the number of further failures.
pub(super) fn reason(outcome: &Outcome) -> Option<String> {
    let failed = outcome.failed();
    let first = failed.first()?;
    let words = outcome.words.get(*first);
    let words = words.map_or("it did not end", String::as_str);
    Some(match failed.len() - 1 {
        0 => format!("{first}: {words}"),
        more => format!("{first}: {words} (and {more} more)"),
    })
}

/// The position of a suite whose guest ended before it.
pub(super) fn last(output: &str) -> Option<&str> {
    output
        .lines()
        .map(str::trim)
        .rfind(|line| !line.is_empty() && !line.starts_with(TALLY))
}

/// The lines about the programs' cost for the verifier.
pub(super) fn costs(output: &str) -> impl Iterator<Item = &str> {
    output
        .lines()
        .map(str::trim_end)
        .filter(|line| line.split('\t').count() == 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> [Group; 2] {
        ["g::x", "g::y"].map(|name| Group {
            name: name.into(),
            program: "/t/e2e".into(),
            folder: "/w".into(),
            tests: vec![format!("{name}::a"), format!("{name}::b")],
            scope: String::new(),
        })
    }

    #[test]
    fn tallies_add_up_and_other_lines_do_not_count() {
        let output = "@test x\n\
            @tally {\"done\":3,\"recorded\":2,\"missing\":1,\"spurious\":0}\n\
            @tally {\"lost\":5}\n\
            @tally {\"skipped\":\"a\",\"why\":\"so\"}\n\
            @tally torn\n\
            test @tally {\"done\":9}\n\
            @tally {\"done\":4,\"recorded\":4,\"missing\":0,\"spurious\":0}\n";
        assert_eq!(
            tally(output),
            Tally {
                done: 7,
                recorded: 6,
                missing: 1,
                spurious: 0,
                lost: 5
            }
        );
    }

    #[test]
    fn a_guest_that_ended_leaves_what_it_had_not_said_unfinished() {
        let output = "booting\n@test g::x\ntest g::x::a ... ok\ntest g::x::b ... ";
        let outcome = read(output, "7-lsm", &groups());
        let failed = ["g::x::b", "g::y::a", "g::y::b"];
        assert_eq!(outcome.failed(), failed);
        assert_eq!(
            reason(&outcome).as_deref(),
            Some("g::x::b: it did not end (and 2 more)")
        );
        assert!(outcome.times.is_empty());
    }

    #[test]
    fn a_group_that_ended_has_its_time() {
        let output = "@test g::x\ntest g::x::a ... ok\ntest g::x::b ... ok\n\n\
            test result: ok. 2 passed; 0 failed; 0 ignored\n@tally {}\n@ended 0 12\n";
        let outcome = read(output, "7-lsm", &groups()[..1]);
        assert!(outcome.failed().is_empty());
        assert_eq!(
            outcome.times,
            [("g::x".to_owned(), Duration::from_secs(12))]
        );
        assert_eq!(reason(&outcome), None);
    }

    #[test]
    fn a_suite_that_was_cut_off_says_where_it_was() {
        let output = "@tally {\"done\":1}\n@test x\ntest y ... \n@tally {}\n\n";
        assert_eq!(last(output), Some("test y ..."));
        assert_eq!(last("\n"), None);
    }
}
