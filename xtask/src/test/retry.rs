//! A failed test runs once more, alone. If it passes, it is unstable and does not
//! fail the run, because a busy machine can be the reason. After many failures no
//! test runs again.

use anyhow::Result;

use super::outcome::{Outcome, Unstable};
use crate::libtest::Verdict;

/// Most failures that are run again.
pub(crate) const MOST: usize = 10;

/// The failed tests of a place that run once more.
pub(crate) fn again(outcome: &Outcome) -> Vec<String> {
    let failed = outcome.failed();
    if failed.len() > MOST {
        return Vec::new();
    }
    failed.into_iter().map(str::to_owned).collect()
}

/// Runs the tests by `start`, which returns whether a test passed, and stores the
/// results.
///
/// # Errors
///
/// One cannot be started.
pub(crate) fn settle(
    outcome: &mut Outcome,
    mut start: impl FnMut(&str) -> Result<bool>,
) -> Result<()> {
    for test in again(outcome) {
        if start(&test)? {
            pardon(outcome, &test);
        }
    }
    Ok(())
}

/// Stores that a failed test passed when it ran alone.
pub(crate) fn pardon(outcome: &mut Outcome, test: &str) {
    let words = outcome.words.get(test).cloned();
    outcome.verdicts.insert(test.to_owned(), Verdict::Passed);
    outcome.unstable.push(Unstable {
        test: test.to_owned(),
        words: words.unwrap_or_else(|| "it said nothing".to_owned()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(failed: usize) -> Outcome {
        let mut outcome = Outcome::of("host");
        for number in 0..failed {
            let verdict = if number % 2 == 0 {
                Verdict::Failed
            } else {
                Verdict::Unfinished
            };
            outcome.verdicts.insert(format!("a::{number:02}"), verdict);
        }
        outcome.verdicts.insert("b".into(), Verdict::Passed);
        outcome
    }

    #[test]
    fn what_passes_alone_is_unstable_and_no_failure() -> Result<()> {
        let mut outcome = outcome(3);
        let mut started = Vec::new();
        settle(&mut outcome, |test| {
            started.push(test.to_owned());
            Ok(test != "a::01")
        })?;
        assert_eq!(started, ["a::00", "a::01", "a::02"]);
        assert_eq!(outcome.failed(), ["a::01"]);
        let unstable: Vec<_> = outcome.unstable.iter().map(|it| &*it.test).collect();
        assert_eq!(unstable, ["a::00", "a::02"]);
        Ok(())
    }

    #[test]
    fn where_many_fail_none_is_run_again() -> Result<()> {
        assert_eq!(again(&outcome(MOST)).len(), MOST);
        let mut many = outcome(MOST + 1);
        settle(&mut many, |test| anyhow::bail!("{test} was started"))?;
        assert_eq!(many.failed().len(), MOST + 1);
        Ok(())
    }
}
