//! The sums behind the tests' verdicts, and the skips, for runs of many tests: a line for
//! each in a file. No test depends on it.
//!
//! Not here: which skips are expected (`tests/expected_skips.tsv`).

use std::fmt::Arguments;
use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::Context as _;
use serde_json::{Value, json};

/// Names the file; without it nothing is kept.
const VARIABLE: &str = "AGENT_RECORDER_TALLY";

/// Adds one comparison: how many operations were done, how many recorded, and how many of
/// the recorded ones were not done. The rest is missing.
///
/// # Errors
///
/// The file that the variable names cannot be written.
pub fn compared(done: usize, recorded: usize, spurious: usize) -> anyhow::Result<()> {
    append(&of_comparison(done, recorded, spurious))
}

/// Adds the losses that one session's records report.
///
/// # Errors
///
/// As for [`compared`].
pub fn session(records: &[Value]) -> anyhow::Result<()> {
    append(&json!({ "lost": lost(records) }))
}

/// Ends a test whose needs are missing here. The test's name goes into the tally with the
/// reason, a format string and its arguments, and the run's `xtask` compares it with
/// `tests/expected_skips.tsv`. The macro stands in the test itself: the name is that of
/// the function.
#[macro_export]
macro_rules! skip {
    ($($why:tt)+) => {
        return $crate::oracle::tally::skipped($crate::here!(), None, format_args!($($why)+))
    };
}

/// As [`skip!`] for a part of a test, by its name: the test continues.
#[macro_export]
macro_rules! skip_part {
    ($part:expr, $($why:tt)+) => {
        $crate::oracle::tally::skipped($crate::here!(), Some($part), format_args!($($why)+))?
    };
}

/// The path of the surrounding function.
#[doc(hidden)]
#[macro_export]
macro_rules! here {
    () => {{
        fn here() {}
        std::any::type_name_of_val(&here)
    }};
}

/// Does the work of [`skip!`] and [`skip_part!`]. A part is `TEST#PART`.
///
/// # Errors
///
/// As for [`compared`], or standard error is closed.
pub fn skipped(here: &str, part: Option<&str>, why: Arguments<'_>) -> anyhow::Result<()> {
    let name = test_of(here);
    let name = part.map_or(name.clone(), |part| format!("{name}#{part}"));
    // Writing here passes the capture of test output.
    writeln!(std::io::stderr(), "skipped: {name}: {why}")?;
    append(&json!({ "skipped": name, "why": why.to_string() }))
}

/// A test's name from the path of something in it: `CRATE::NAME`, then closures, then `here`.
fn test_of(here: &str) -> String {
    let path = here.trim_end_matches("::here");
    let path = path.replace("::{{closure}}", "");
    path.split_once("::")
        .map_or(path.clone(), |(_, name)| name.to_owned())
}

fn of_comparison(done: usize, recorded: usize, spurious: usize) -> Value {
    let missing = done.saturating_sub(recorded.saturating_sub(spurious));
    json!({ "done": done, "recorded": recorded, "missing": missing, "spurious": spurious })
}

/// The session's end counts all losses; where it is missing, the loss records are summed.
fn lost(records: &[Value]) -> u64 {
    let count = |of: &Value| of["count"].as_u64().unwrap_or_default();
    let told: u64 = records.iter().map(|record| count(&record["loss"])).sum();
    let totals = records
        .iter()
        .filter_map(|record| record["sessionEnd"]["totals"]["lost"].as_array());
    totals.flatten().map(count).sum::<u64>().max(told)
}

fn append(line: &Value) -> anyhow::Result<()> {
    let Some(name) = std::env::var_os(VARIABLE) else {
        return Ok(());
    };
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&name)
        .with_context(|| format!("open {}, which {VARIABLE} names", name.display()))?;
    writeln!(file, "{line}").with_context(|| format!("write {}", name.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_and_not_recorded_is_missing() {
        let line = of_comparison(10, 9, 2);
        assert_eq!(line["missing"], 3);
        assert_eq!(of_comparison(3, 3, 0)["missing"], 0);
    }

    #[test]
    fn a_skip_has_the_name_of_its_test_wherever_in_it_it_stands() {
        let name = "oracle::tally::tests::a_skip_has_the_name_of_its_test_wherever_in_it_it_stands";
        assert_eq!(test_of(crate::here!()), name);
        let within = || || test_of(crate::here!());
        assert_eq!(within()(), name);
    }

    #[test]
    fn losses_are_counted_once() {
        let loss = json!({ "loss": { "stage": "ring_bulk", "count": 4 } });
        let end = json!({ "sessionEnd": { "totals": {
            "lost": [{ "kind": "file", "count": 3 }, { "kind": "exec", "count": 1 }]
        } } });
        assert_eq!(lost(std::slice::from_ref(&loss)), 4);
        assert_eq!(lost(&[loss, end]), 4);
        assert_eq!(lost(&[]), 0);
    }
}
