//! The results of tests in one place: on the host, or in one guest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::libtest::Verdict;
use crate::skips::{Expected, Skip};

/// The results of one place.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// `host`, or a guest's row.
    pub place: String,
    /// The result of each test, after its second run if there was one.
    pub verdicts: BTreeMap<String, Verdict>,
    /// The message of each test that failed at first.
    pub words: BTreeMap<String, String>,
    /// Tests that failed, and passed in their second run.
    pub unstable: Vec<Unstable>,
    /// Skips, as the tests reported them.
    pub skips: Vec<Skip>,
    /// The time of each group.
    pub times: Vec<(String, Duration)>,
}

/// A test that failed at first and passed alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unstable {
    pub test: String,
    /// The message of its failure.
    pub words: String,
}

/// Numbers of tests by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Outcome {
    /// The results of a place where nothing has run yet.
    pub(crate) fn of(place: &str) -> Self {
        Self {
            place: place.to_owned(),
            ..Self::default()
        }
    }

    /// The tests that failed, by their names.
    pub(crate) fn failed(&self) -> Vec<&str> {
        self.verdicts
            .iter()
            .filter(|(_, verdict)| verdict.is_failure())
            .map(|(test, _)| test.as_str())
            .collect()
    }

    /// The numbers of results. A skipped test passed in its program; here it counts
    /// as skipped, as an ignored one does.
    pub(crate) fn counts(&self) -> Counts {
        let skipped: BTreeSet<&str> = self.skips.iter().map(|skip| skip.test.as_str()).collect();
        let mut counts = Counts::default();
        for (test, verdict) in &self.verdicts {
            match verdict {
                Verdict::Failed | Verdict::Unfinished => counts.failed += 1,
                Verdict::Ignored => counts.skipped += 1,
                Verdict::Passed if skipped.contains(test.as_str()) => counts.skipped += 1,
                Verdict::Passed => counts.passed += 1,
            }
        }
        counts
    }

    /// The errors in the skips, a line each.
    pub(crate) fn complaints(&self, expected: &Expected) -> Vec<String> {
        let ran = self
            .verdicts
            .iter()
            .filter(|(_, verdict)| **verdict == Verdict::Passed)
            .map(|(test, _)| test.clone())
            .collect();
        expected.complaints(&self.place, &ran, &self.skips)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skip_counts_as_one_and_not_as_passed() {
        let mut outcome = Outcome::of("host");
        for (test, verdict) in [
            ("a", Verdict::Passed),
            ("b", Verdict::Passed),
            ("c", Verdict::Ignored),
            ("d", Verdict::Failed),
            ("e", Verdict::Unfinished),
        ] {
            outcome.verdicts.insert(test.into(), verdict);
        }
        let skip = |test: &str| Skip {
            test: test.into(),
            why: "so".into(),
        };
        // The test ran twice and skipped twice; the other one failed all the same.
        outcome.skips = vec![skip("b"), skip("b"), skip("d")];
        assert_eq!(
            outcome.counts(),
            Counts {
                passed: 1,
                failed: 2,
                skipped: 2
            }
        );
        assert_eq!(outcome.failed(), ["d", "e"]);
    }
}
