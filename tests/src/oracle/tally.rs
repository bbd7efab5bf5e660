//! The sums behind the tests' verdicts, for who runs many of them and wants a
//! table: a line per comparison in a file. No test depends on it.

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::Context as _;
use serde_json::{Value, json};

/// Names the file; without it nothing is kept.
const VARIABLE: &str = "AGENT_RECORDER_TALLY";

/// One comparison: how many operations were done, how many recorded, and how
/// many of those that nobody did. What is neither is missing.
///
/// # Errors
///
/// The file that the variable names cannot be written.
pub fn compared(done: usize, recorded: usize, spurious: usize) -> anyhow::Result<()> {
    append(&of_comparison(done, recorded, spurious))
}

/// One session's records: how many more of them the recorder says it lost.
///
/// # Errors
///
/// As for [`compared`].
pub fn session(records: &[Value]) -> anyhow::Result<()> {
    append(&json!({ "lost": lost(records) }))
}

fn of_comparison(done: usize, recorded: usize, spurious: usize) -> Value {
    let missing = done.saturating_sub(recorded.saturating_sub(spurious));
    json!({ "done": done, "recorded": recorded, "missing": missing, "spurious": spurious })
}

/// The session's end counts all; where it is missing, the losses themselves are what there is.
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
