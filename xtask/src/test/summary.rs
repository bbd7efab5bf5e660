//! The end of a test run: the slowest groups, unstable tests, failures, and last the
//! line of counts.

use std::fmt::Write as _;
use std::time::Duration;

use super::outcome::{Counts, Outcome};

/// Number of the slowest groups that are named.
const SLOWEST: usize = 10;

/// The results of all places.
#[derive(Debug, Default)]
pub(super) struct Summary {
    outcomes: Vec<Outcome>,
    others: Counts,
}

impl Summary {
    /// Adds the results of one place.
    pub(super) fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Adds tests of which only the numbers are known.
    pub(super) fn count(&mut self, counts: Counts) {
        self.others += counts;
    }

    /// For people: the slowest groups, the failed tests and the unstable ones.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("the slowest:\n");
        for (place, group, took) in self.slowest() {
            let _ = writeln!(text, "  {:>7.1} s  {group} ({place})", took.as_secs_f64());
        }
        for outcome in &self.outcomes {
            for test in outcome.failed() {
                let words = outcome.words.get(test).map_or("", String::as_str);
                let _ = writeln!(text, "failed: {test} ({}): {words}", outcome.place);
            }
        }
        for outcome in &self.outcomes {
            for unstable in &outcome.unstable {
                let _ = writeln!(
                    text,
                    "unstable: {} ({}): {}",
                    unstable.test, outcome.place, unstable.words
                );
            }
        }
        text.push_str("what tests said: target/test-logs, in guests target/vm/logs");
        text
    }

    /// The sum of all tests, in the format of libtest's closing line.
    pub(super) fn line(&self) -> String {
        let Counts {
            passed,
            failed,
            skipped,
        } = self.counts();
        format!("{passed} passed, {failed} failed, {skipped} skipped")
    }

    fn counts(&self) -> Counts {
        let mut counts = self.others;
        for outcome in &self.outcomes {
            counts += outcome.counts();
        }
        counts
    }

    fn slowest(&self) -> Vec<(&str, &str, Duration)> {
        let mut all: Vec<_> = self
            .outcomes
            .iter()
            .flat_map(|outcome| {
                let place = outcome.place.as_str();
                let times = outcome.times.iter();
                times.map(move |(group, took)| (place, group.as_str(), *took))
            })
            .collect();
        all.sort_by_key(|(_, _, took)| std::cmp::Reverse(*took));
        all.truncate(SLOWEST);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtest::Verdict;

    fn outcome(place: &str) -> Outcome {
        let mut outcome = Outcome::of(place);
        outcome.verdicts.insert("x::a".into(), Verdict::Passed);
        outcome.verdicts.insert("x::b".into(), Verdict::Failed);
        outcome.words.insert("x::b".into(), "no".into());
        outcome
    }

    #[test]
    fn the_last_line_counts_all_places() {
        let mut summary = Summary::default();
        summary.add(outcome("host"));
        summary.add(outcome("6.12-lsm"));
        summary.count(Counts {
            passed: 3,
            failed: 0,
            skipped: 1,
        });
        assert_eq!(summary.line(), "5 passed, 2 failed, 1 skipped");
    }

    #[test]
    fn failures_unstable_ones_and_the_slowest_are_named_with_their_place() {
        let mut host = outcome("host");
        for number in 0..20_u32 {
            let took = Duration::from_secs(number.into());
            host.times.push((format!("group{number:02}"), took));
        }
        super::super::retry::pardon(&mut host, "x::b");
        let mut summary = Summary::default();
        summary.add(host);
        summary.add(outcome("6.12-lsm"));
        let text = summary.text();
        assert!(text.contains("unstable: x::b (host): no"), "{text}");
        assert!(text.contains("failed: x::b (6.12-lsm): no"), "{text}");
        assert!(
            text.contains("group19 (host)") && !text.contains("group09"),
            "{text}"
        );
    }
}
