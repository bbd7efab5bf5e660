//! The suite on every kernel in every profile that it allows: which rows there
//! are, running them side by side, and the table. One row is one boot.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::image::Image;
use super::kernels::{Fetched, Kernel};
use super::qemu::Machine;
use super::suite::{self, Tally};
use crate::step::say;
use crate::workspace;

/// One boot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    kernel: Kernel,
    profile: &'static str,
    cmdline: &'static str,
}

impl Row {
    /// Its kernel and profile.
    pub(super) fn name(&self) -> String {
        format!("{} {}", self.kernel.number(), self.profile)
    }

    /// As it is named on a command line.
    pub(super) fn label(&self) -> String {
        format!("{}-{}", self.kernel.number(), self.profile)
    }

    /// What its recorder is told to use.
    pub(super) fn profile(&self) -> &'static str {
        self.profile
    }
}

/// Without `bpf` in this list no LSM program is ever called, and fentry is what remains.
const NO_BPF_LSM: &str = "lsm=landlock,lockdown,yama";
/// Of a long reason the end is kept: that is where programs say why.
const REASON_LENGTH: usize = 160;

/// What a row came to.
struct Outcome {
    row: Row,
    tally: Tally,
    failure: Option<String>,
    took: Duration,
}

/// The rows of all kernels, or of one.
pub(super) fn rows(only: Option<Kernel>) -> Vec<Row> {
    Kernel::ALL
        .into_iter()
        .filter(|kernel| only.is_none_or(|only| only == *kernel))
        .flat_map(of_kernel)
        .collect()
}

fn of_kernel(kernel: Kernel) -> Vec<Row> {
    let row = |profile, cmdline| Row {
        kernel,
        profile,
        cmdline,
    };
    match kernel {
        // Its list has no bpf as Debian built it.
        Kernel::Bullseye => vec![row("tracepoint", ""), row("fentry", "")],
        Kernel::Bookworm | Kernel::Trixie | Kernel::Sid => vec![
            row("tracepoint", ""),
            row("lsm", ""),
            row("fentry", NO_BPF_LSM),
        ],
    }
}

/// Runs the rows, each for at most `limit`, and prints the table on stdout.
///
/// # Errors
///
/// One of them failed, or did not run.
pub(super) fn run(rows: &[Row], tests: &[&str], image: &Image, limit: Duration) -> Result<()> {
    tell_omitted(rows);
    let kernels = fetched(rows);
    let outcomes = side_by_side(rows, |row| {
        let begun = Instant::now();
        let (tally, failure) = match of_number(&kernels, row.kernel) {
            Ok(kernel) => of_row(row, tests, kernel, image, limit),
            Err(error) => (Tally::default(), Some(format!("{error:#}"))),
        };
        let outcome = Outcome {
            row,
            tally,
            failure,
            took: begun.elapsed(),
        };
        say(&format!(
            "{} {}: {}",
            row.kernel.number(),
            row.profile,
            outcome.failure.as_deref().unwrap_or("ok")
        ));
        outcome
    });
    println!("{}", table(&outcomes));
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.failure.is_some())
        .count();
    ensure!(
        failed == 0 && outcomes.len() == rows.len(),
        "{failed} of {} rows failed; what the guests said is in {}",
        rows.len(),
        logs().display()
    );
    Ok(())
}

/// Prints what each program costs each kernel's verifier, a line a program,
/// as `tests/tests/verifier_cost.tsv` holds them.
///
/// # Errors
///
/// A kernel cannot be fetched, or a guest fails.
pub(super) fn report(rows: &[Row], image: &Image, limit: Duration) -> Result<()> {
    let kernels = fetched(rows);
    for row in rows {
        let kernel = of_number(&kernels, row.kernel)?;
        let mut output = Vec::new();
        let script = suite::cost_script(row.profile);
        let status = boot(*row, script.as_bytes(), kernel, image, limit, &mut output)?;
        let text = String::from_utf8_lossy(&output);
        ensure!(status == 0, "the guest ended with {status}: {text}");
        for line in suite::costs(&text) {
            println!("{line}");
        }
    }
    Ok(())
}

/// What a script says in the guest of each row, one that depends on the row.
pub(super) fn said(
    rows: &[Row],
    image: &Image,
    limit: Duration,
    script: impl Fn(Row) -> Vec<u8> + Sync,
) -> Vec<(Row, Result<String>)> {
    let kernels = fetched(rows);
    side_by_side(rows, |row| {
        let said = of_number(&kernels, row.kernel).and_then(|kernel| {
            let mut output = Vec::new();
            boot(row, &script(row), kernel, image, limit, &mut output)?;
            keep_log(row, &output)?;
            Ok(String::from_utf8_lossy(&output).into_owned())
        });
        say(&format!(
            "{}: {}",
            row.name(),
            if said.is_ok() { "over" } else { "failed" }
        ));
        (row, said)
    })
}

fn tell_omitted(rows: &[Row]) {
    for kernel in Kernel::ALL {
        if rows.iter().any(|row| row.kernel == kernel) {
            for (test, why) in suite::omitted(kernel) {
                say(&format!("not on {}: {test} ({why})", kernel.number()));
            }
        }
    }
}

/// Has the rows' kernels here, as far as they can be had.
pub(super) fn fetch(rows: &[Row]) {
    drop(fetched(rows));
}

/// The kernels of the rows, one after the other: a mirror has one wire.
fn fetched(rows: &[Row]) -> Vec<(Kernel, Result<Fetched>)> {
    Kernel::ALL
        .into_iter()
        .filter(|kernel| rows.iter().any(|row| row.kernel == *kernel))
        .map(|kernel| (kernel, kernel.fetched()))
        .collect()
}

fn of_number(kernels: &[(Kernel, Result<Fetched>)], wanted: Kernel) -> Result<&Fetched> {
    let (_, fetched) = kernels
        .iter()
        .find(|(kernel, _)| *kernel == wanted)
        .context("it was not asked for")?;
    match fetched {
        Ok(kernel) => Ok(kernel),
        Err(error) => anyhow::bail!("{error:#}"),
    }
}

/// As many at once as there are cores; the outcomes in the rows' order.
fn side_by_side<T: Send>(rows: &[Row], run: impl Fn(Row) -> T + Sync) -> Vec<T> {
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    // The last are of the newest kernel and take longest: first, so that no core is idle at the end.
    let waiting = Mutex::new(rows.iter().copied().enumerate().rev());
    let next = || {
        let mut waiting = waiting
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        waiting.next()
    };
    let finished = Mutex::new(Vec::new());
    let work = || {
        while let Some((place, row)) = next() {
            let outcome = run(row);
            let mut finished = finished
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            finished.push((place, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 0..at_once.min(rows.len()) {
            scope.spawn(work);
        }
    });
    let mut finished = finished
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    finished.sort_by_key(|(place, _)| *place);
    finished.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The suite in one guest: its tally, and why it failed if it did.
fn of_row(
    row: Row,
    tests: &[&str],
    kernel: &Fetched,
    image: &Image,
    limit: Duration,
) -> (Tally, Option<String>) {
    let mut output = Vec::new();
    let script = suite::script(row.kernel, row.profile, tests);
    let status = boot(row, script.as_bytes(), kernel, image, limit, &mut output);
    let text = String::from_utf8_lossy(&output);
    let tally = suite::tally(&text);
    let kept = keep_log(row, &output);
    let failure = match status {
        Err(error) => Some(match suite::last_heard(&text) {
            Some(heard) => format!("{error:#}; last heard: {heard}"),
            None => format!("{error:#}"),
        }),
        Ok(0) if tally.done == 0 => Some("nothing was compared".to_owned()),
        Ok(0) => kept.err().map(|error| format!("{error:#}")),
        Ok(status) => Some(
            suite::reason(&text).unwrap_or_else(|| format!("the suite ended with status {status}")),
        ),
    };
    (tally, failure)
}

fn boot(
    row: Row,
    script: &[u8],
    kernel: &Fetched,
    image: &Image,
    limit: Duration,
    output: &mut Vec<u8>,
) -> Result<u8> {
    let initramfs = image.with_command(kernel, Some(script))?;
    let machine = Machine {
        kernel: &kernel.image,
        initramfs: initramfs.path(),
        cmdline: row.cmdline,
    };
    machine.run(limit, |said| output.extend(said))
}

fn logs() -> PathBuf {
    workspace::target("vm/logs")
}

fn keep_log(row: Row, output: &[u8]) -> Result<()> {
    let folder = logs();
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let file = folder.join(format!("{}.log", row.label()));
    fs::write(&file, output).with_context(|| format!("write {}", file.display()))
}

/// One line a row.
fn table(outcomes: &[Outcome]) -> String {
    let heads = [
        "kernel", "profile", "done", "recorded", "missing", "spurious", "lost", "took", "verdict",
    ];
    let mut lines = vec![line(heads.map(str::to_owned), "")];
    for Outcome {
        row,
        tally,
        failure,
        took,
    } in outcomes
    {
        let verdict = if failure.is_none() { "ok" } else { "FAILED" };
        let cells = [
            row.kernel.number().to_owned(),
            row.profile.to_owned(),
            tally.done.to_string(),
            tally.recorded.to_string(),
            tally.missing.to_string(),
            tally.spurious.to_string(),
            tally.lost.to_string(),
            format!("{} s", took.as_secs()),
            verdict.to_owned(),
        ];
        lines.push(line(cells, &shortened(failure.as_deref().unwrap_or(""))));
    }
    lines.join("\n")
}

fn line(cells: [String; 9], reason: &str) -> String {
    let [
        kernel,
        profile,
        done,
        recorded,
        missing,
        spurious,
        lost,
        took,
        verdict,
    ] = cells;
    let line = format!(
        "{kernel:<7} {profile:<10} {done:>6} {recorded:>9} {missing:>8} {spurious:>9} {lost:>6} {took:>7}  {verdict:<7} {reason}"
    );
    line.trim_end().to_owned()
}

/// On one line, and the end of what is too long.
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
    use super::*;

    fn outcome(row: Row, failure: Option<&str>) -> Outcome {
        Outcome {
            row,
            tally: Tally {
                done: 12,
                recorded: 11,
                missing: 1,
                ..Tally::default()
            },
            failure: failure.map(str::to_owned),
            took: Duration::from_secs(61),
        }
    }

    #[test]
    fn every_row_has_its_line_with_the_reason_at_the_end() {
        let rows = rows(Some(Kernel::Bullseye));
        let table = table(&[outcome(rows[0], None), outcome(rows[1], Some("no\nfile"))]);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1],
            [
                "5.10",
                "tracepoint",
                "12",
                "11",
                "1",
                "0",
                "0",
                "61",
                "s",
                "ok"
            ]
        );
        assert_eq!(lines[2][9..], ["FAILED", "no", "file"]);
    }

    #[test]
    fn of_a_long_reason_the_end_stays() {
        let long = format!("{}the end", "x".repeat(500));
        let short = shortened(&long);
        assert!(short.starts_with('…') && short.ends_with("the end"));
        assert_eq!(short.chars().count(), REASON_LENGTH + 1);
    }

    #[test]
    fn every_kernel_is_tried_on_tracepoints_and_fentry() {
        for kernel in Kernel::ALL {
            let profiles: Vec<_> = rows(Some(kernel)).iter().map(|row| row.profile).collect();
            assert!(profiles.contains(&"tracepoint") && profiles.contains(&"fentry"));
        }
        assert_eq!(rows(None).len(), 11);
    }

    #[test]
    fn outcomes_keep_the_rows_order() {
        let rows = rows(None);
        let outcomes = side_by_side(&rows, |row| outcome(row, None));
        let order: Vec<_> = outcomes
            .iter()
            .map(|outcome| (outcome.row.kernel.number(), outcome.row.profile))
            .collect();
        let expected: Vec<_> = rows
            .iter()
            .map(|row| (row.kernel.number(), row.profile))
            .collect();
        assert_eq!(order, expected);
    }
}
