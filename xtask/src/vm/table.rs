//! The matrix as a table with a line a row, on a terminal and in docs/evidence.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::heard::Tally;
use super::rows::Row;
use crate::build;
use crate::step::{self, say};
use crate::test::outcome::Outcome;
use crate::workspace;

/// Most characters of a reason; the end of a longer one is shown, because programs
/// state the reason there.
const REASON_LENGTH: usize = 160;
/// Path of the evidence of all rows, below the workspace's folder.
const EVIDENCE: &str = "docs/evidence/kernel-rows.md";

/// The result of a row.
pub(super) struct Line {
    pub row: Row,
    pub tally: Tally,
    pub outcome: Outcome,
    pub failure: Option<String>,
    pub took: Duration,
}

/// The table for a terminal: one line a row.
pub(super) fn plain(lines: &[Line]) -> String {
    let heads = [
        "kernel", "profile", "done", "recorded", "missing", "spurious", "lost", "passed", "failed",
        "skipped", "took", "verdict",
    ];
    let rows = lines.iter().map(|line| {
        let reason = shortened(line.failure.as_deref().unwrap_or(""));
        spaced(&cells(line), &reason)
    });
    let head = spaced(&heads.map(str::to_owned), "");
    std::iter::once(head)
        .chain(rows)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Writes the rows to docs/evidence, with the command, the commit and the date.
///
/// # Errors
///
/// The commit is unknown, or the file cannot be written.
pub(super) fn keep(lines: &[Line], command: &str) -> Result<()> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        step::output(git.arg("-C").arg(workspace::root()).args(arguments))
    };
    let commit = git(&[
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ])
    .context("ask git which commit this is")?;
    let date = step::output(Command::new("date").args(["-u", "+%F"]))?;
    let text = markdown(lines, command, commit.trim(), date.trim());
    let file = workspace::root().join(EVIDENCE);
    build::write_if_changed(&file, text.as_bytes())?;
    say(&format!("the table is in {}", file.display()));
    Ok(())
}

fn markdown(lines: &[Line], command: &str, commit: &str, date: &str) -> String {
    let mut text = format!(
        "# Other kernels, row by row\n\nMade by `{command}` on {date}, commit {commit}. One row is one boot of an emulated guest, two at a time. \"Done\" to \"lost\" are operations, \"passed\" to \"skipped\" are tests.\n\n\
        | kernel | profile | done | recorded | missing | spurious | declared lost | passed | failed | skipped | took | verdict |\n\
        | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --- |\n"
    );
    for line in lines {
        let verdict = line.failure.as_deref().map_or("", |reason| reason);
        let reason = match shortened(verdict) {
            none if none.is_empty() => none,
            why => format!(": {}", why.replace('|', "\\|")),
        };
        let _ = writeln!(text, "| {}{reason} |", cells(line).join(" | "));
    }
    let unstable: Vec<_> = lines
        .iter()
        .flat_map(|line| line.outcome.unstable.iter().map(move |it| (line.row, it)))
        .collect();
    if !unstable.is_empty() {
        text.push_str("\nFailed at first, and passed when run once more, alone:\n\n");
        for (row, it) in unstable {
            let _ = writeln!(text, "- {}: `{}`: {}", row.name(), it.test, it.words);
        }
    }
    text
}

fn cells(line: &Line) -> [String; 12] {
    let Line {
        row, tally, took, ..
    } = line;
    let counts = line.outcome.counts();
    let verdict = if line.failure.is_none() {
        "ok"
    } else {
        "FAILED"
    };
    [
        row.kernel.number().to_owned(),
        row.profile().to_owned(),
        tally.done.to_string(),
        tally.recorded.to_string(),
        tally.missing.to_string(),
        tally.spurious.to_string(),
        tally.lost.to_string(),
        counts.passed.to_string(),
        counts.failed.to_string(),
        counts.skipped.to_string(),
        format!("{} s", took.as_secs()),
        verdict.to_owned(),
    ]
}

fn spaced(cells: &[String; 12], reason: &str) -> String {
    let [
        kernel,
        profile,
        done,
        recorded,
        missing,
        spurious,
        lost,
        passed,
        failed,
        skipped,
        took,
        verdict,
    ] = cells;
    let line = format!(
        "{kernel:<7} {profile:<10} {done:>6} {recorded:>9} {missing:>8} {spurious:>9} {lost:>6} {passed:>7} {failed:>7} {skipped:>8} {took:>7}  {verdict:<7} {reason}"
    );
    line.trim_end().to_owned()
}

/// The reason on one line, of which a long one keeps its end.
fn shortened(reason: &str) -> String {
    let flat = reason.replace('\n', " ");
    let length = flat.chars().count();
    if length <= REASON_LENGTH {
        return flat;
    }
    let end: String = flat.chars().skip(length - REASON_LENGTH).collect();
    format!("…{end}")
}

#[cfg(test)]
mod tests {
    use super::super::kernels::Kernel;
    use super::super::rows;
    use super::*;
    use crate::libtest::Verdict;

    fn lines() -> [Line; 2] {
        let rows = rows::of(Some(Kernel::Bullseye));
        [(rows[0], None), (rows[1], Some("no\nfile | here"))].map(|(row, failure)| {
            let mut outcome = Outcome::of(&row.label());
            outcome.verdicts.insert("a".into(), Verdict::Passed);
            Line {
                row,
                tally: Tally {
                    done: 12,
                    recorded: 11,
                    missing: 1,
                    ..Tally::default()
                },
                outcome,
                failure: failure.map(str::to_owned),
                took: Duration::from_secs(61),
            }
        })
    }

    #[test]
    fn every_row_has_its_line_with_the_reason_at_the_end() {
        let table = plain(&lines());
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1].join(" "),
            "5.10 tracepoint 12 11 1 0 0 1 0 0 61 s ok"
        );
        assert_eq!(lines[2][12..].join(" "), "FAILED no file | here");
    }

    #[test]
    fn the_evidence_says_with_what_it_was_made_and_what_is_unstable() {
        let mut lines = lines();
        crate::test::retry::pardon(&mut lines[0].outcome, "a");
        let text = markdown(&lines, "cargo xtask x", "abc", "2030-01-02");
        assert!(text.contains("Made by `cargo xtask x` on 2030-01-02, commit abc."));
        assert!(
            text.contains("| 5.10 | tracepoint | 12 | 11 | 1 | 0 | 0 | 1 | 0 | 0 | 61 s | ok |")
        );
        assert!(text.contains("| FAILED: no file \\| here |"), "{text}");
        assert!(text.contains("- 5.10 tracepoint: `a`: "));
    }

    #[test]
    fn of_a_long_reason_the_end_stays() {
        let long = format!("{}the end", "x".repeat(500));
        let short = shortened(&long);
        assert!(short.starts_with('…') && short.ends_with("the end"));
        assert_eq!(short.chars().count(), REASON_LENGTH + 1);
    }
}
