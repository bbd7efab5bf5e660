//! Guests in parallel, one for each row: they run the suite, measure the programs'
//! cost for the kernel's verifier, or run any script.
//!
//! Not here: the list of rows (`rows`), and the table of results (`table`).

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::heard;
use super::image::Image;
use super::kernels::{Fetched, Kernel};
use super::qemu::Machine;
use super::rows::Row;
use super::table::Line;
use super::{Guests, script};
use crate::step::say;
use crate::workspace;

/// Runs groups of tests in the guest of each row, each for at most `limit`.
pub(super) fn run(rows: &[Row], guests: &Guests, limit: Duration) -> Vec<Line> {
    let kernels = fetched(rows);
    side_by_side(rows, |row| {
        let line = of_row(row, &kernels, guests, limit);
        say(&format!(
            "{}: {}",
            row.name(),
            line.failure.as_deref().unwrap_or("ok")
        ));
        line
    })
}

/// Verifies that all rows succeeded.
///
/// # Errors
///
/// One of them failed.
pub(super) fn verdict(lines: &[Line]) -> Result<()> {
    let failed = lines.iter().filter(|line| line.failure.is_some()).count();
    ensure!(
        failed == 0,
        "{failed} of {} rows failed; what the guests said is in {}",
        lines.len(),
        logs().display()
    );
    Ok(())
}

/// Prints each program's cost for each kernel's verifier, a line a program, in the
/// format of the tests' `verifier_cost.tsv`.
///
/// # Errors
///
/// A kernel cannot be fetched, or a guest fails.
pub(super) fn report(rows: &[Row], guests: &Guests, limit: Duration) -> Result<()> {
    let kernels = fetched(rows);
    for row in rows {
        let kernel = of_number(&kernels, row.kernel)?;
        let mut output = Vec::new();
        let script = script::cost(row.profile(), &guests.groups);
        let status = boot(
            *row,
            script.as_bytes(),
            kernel,
            &guests.image,
            limit,
            &mut output,
        )?;
        let text = String::from_utf8_lossy(&output);
        ensure!(status == 0, "the guest ended with {status}: {text}");
        for line in heard::costs(&text) {
            println!("{line}");
        }
    }
    Ok(())
}

/// The output of a script in the guest of each row. The script depends on the row.
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

/// Fetches the kernels of the rows, as far as they are available.
pub(super) fn fetch(rows: &[Row]) {
    drop(fetched(rows));
}

/// Fetches the kernels of the rows one after the other, because the mirror limits the
/// speed.
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

/// Runs as many rows at a time as there are cores. The results are in the rows'
/// order.
fn side_by_side<T: Send>(rows: &[Row], run: impl Fn(Row) -> T + Sync) -> Vec<T> {
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    // The last rows are those of the newest kernel and take longest. They begin
    // first, so that no core is idle at the end.
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

/// Runs the suite in one guest.
fn of_row(
    row: Row,
    kernels: &[(Kernel, Result<Fetched>)],
    guests: &Guests,
    limit: Duration,
) -> Line {
    let begun = Instant::now();
    let script = script::suite(row.profile(), &guests.groups);
    let mut output = Vec::new();
    let status = of_number(kernels, row.kernel).and_then(|kernel| {
        boot(
            row,
            script.as_bytes(),
            kernel,
            &guests.image,
            limit,
            &mut output,
        )
    });
    let text = String::from_utf8_lossy(&output);
    let outcome = heard::read(&text, &row.label(), &guests.groups);
    let tally = heard::tally(&text);
    let kept = keep_log(row, &output);
    let failure = match status {
        Err(error) => Some(match heard::last(&text) {
            Some(heard) => format!("{error:#}; last heard: {heard}"),
            None => format!("{error:#}"),
        }),
        Ok(0) if tally.done == 0 => Some("nothing was compared".to_owned()),
        Ok(0) => heard::reason(&outcome).or(kept.err().map(|error| format!("{error:#}"))),
        Ok(status) => Some(format!("the suite ended with status {status}")),
    };
    Line {
        row,
        tally,
        outcome,
        failure,
        took: begun.elapsed(),
    }
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

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    #[test]
    fn outcomes_keep_the_rows_order() {
        let rows = rows::of(None);
        assert_eq!(side_by_side(&rows, |row| row), rows);
    }
}
