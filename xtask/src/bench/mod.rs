//! `cargo xtask bench`: the cost of recording for a workload, and the recorder's cost
//! for processes outside its sessions.
//!
//! There are three columns: bare (no recorder on the machine), recorded (in a
//! session), beside (outside every session while the recorder runs). A recorder's
//! hooks cost every process time, so none runs during bare measurements: each round
//! has a block without and a block with a recorder, in an order that changes from
//! round to round, and ratios are computed within a round. No test asserts these
//! numbers.

mod daemon;
mod inputs;
mod measure;
mod report;
mod stats;
mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use self::daemon::Daemon;
use self::inputs::Inputs;
use self::measure::{Bench, Column, Round};
use self::report::{Machine, Report};
use self::workload::Workload;
use crate::build::{self, Profile};
use crate::step::{self, Steps, say};
use crate::{setup, workspace};

const BENCH_MICRO: &str = "bench_micro";

/// What to measure, and where to put it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many rounds; medians are over these
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Also write every sample to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A fifth of the work and three rounds at most: shows that it runs, not what it costs
    #[arg(long)]
    quick: bool,
    /// Measure this agent-recorder instead of building one; needs --micro
    #[arg(long, value_name = "FILE", requires = "micro")]
    recorder: Option<PathBuf>,
    /// The bench_micro that goes with --recorder
    #[arg(long, value_name = "FILE", requires = "recorder")]
    micro: Option<PathBuf>,
}

/// Builds, measures, prints the table on stdout.
///
/// # Errors
///
/// Something is missing, does not compile, or a workload fails.
pub(crate) fn command(args: &Args) -> Result<()> {
    let (recorder, micro) = match (&args.recorder, &args.micro) {
        (Some(recorder), Some(micro)) => (absolute(recorder)?, absolute(micro)?),
        _ => built()?,
    };
    if !step::is_root() {
        return again_as_root(args, &recorder, &micro);
    }
    let workloads: Vec<Workload> = workload::ALL
        .iter()
        .map(|workload| {
            if args.quick {
                workload.quick()
            } else {
                *workload
            }
        })
        .collect();
    let rounds = if args.quick {
        args.rounds.min(3)
    } else {
        args.rounds
    };
    say("making the inputs");
    let inputs = Inputs::make()?;
    say("the guard is off: the workloads delete in bulk, and are to come to their end");
    let bench = Bench {
        micro: &micro,
        folder: inputs.path(),
    };
    let rounds = measure_rounds(&bench, &recorder, &workloads, rounds)?;
    let (machine, versions) = (Machine::this()?, versions(&recorder)?);
    let report = Report {
        machine: &machine,
        versions: &versions,
        workloads: &workloads,
        rounds: &rounds,
    };
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report.json()).context("write the samples")?;
        std::fs::write(path, text + "\n").with_context(|| format!("write {}", path.display()))?;
    }
    print!("{}", report.markdown());
    Ok(())
}

/// Builds the recorder and bench_micro for release.
fn built() -> Result<(PathBuf, PathBuf)> {
    let mut steps = Steps::new(5);
    steps.run("what the workloads run", setup::for_tests)?;
    let recorder = build::recorder(&mut steps, Profile::Release)?;
    let micro = steps.run("the workloads' own program", || {
        build::binary("agent-recorder-tests", BENCH_MICRO, Profile::Release)
    })?;
    Ok((recorder, micro))
}

fn again_as_root(args: &Args, recorder: &Path, micro: &Path) -> Result<()> {
    say("loading kernel programs needs root: measuring through sudo");
    let mut command = step::as_root(std::env::current_exe().context("find our own executable")?)?;
    command
        .args(["bench", "--rounds", &args.rounds.to_string(), "--recorder"])
        .arg(recorder)
        .arg("--micro")
        .arg(micro);
    if args.quick {
        command.arg("--quick");
    }
    if let Some(json) = &args.json {
        command.arg("--json").arg(json);
    }
    step::run(&mut command)
}

fn measure_rounds(
    bench: &Bench<'_>,
    recorder: &Path,
    workloads: &[Workload],
    count: u32,
) -> Result<Vec<Round>> {
    // Ctrl-C ends the running workload, and xtask by an error, so that the recorder
    // is ended and the folders are removed.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("catch signals")?;
    }
    let ended = || interrupted.load(Ordering::Relaxed);
    let mut rounds = Vec::new();
    for number in 0..count {
        let begun = Instant::now();
        let mut round = Round::new(workloads.len());
        for column_block in order(number) {
            match column_block {
                Block::Without => without(bench, workloads, &mut round, &ended)?,
                Block::With(columns) => {
                    with(bench, recorder, workloads, columns, &mut round, &ended)?
                }
            }
        }
        rounds.push(round);
        say(&format!(
            "round {} of {count}: {:.0} s",
            number + 1,
            begun.elapsed().as_secs_f64()
        ));
    }
    Ok(rounds)
}

/// A part of a round. The recorder is started or ended between the two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Without,
    With([Column; 2]),
}

/// Each order comes once in four rounds.
fn order(round: u32) -> [Block; 2] {
    let columns = if round % 4 < 2 {
        [Column::Recorded, Column::Beside]
    } else {
        [Column::Beside, Column::Recorded]
    };
    let blocks = [Block::Without, Block::With(columns)];
    if round.is_multiple_of(2) {
        blocks
    } else {
        [blocks[1], blocks[0]]
    }
}

fn without(
    bench: &Bench<'_>,
    workloads: &[Workload],
    round: &mut Round,
    ended: &impl Fn() -> bool,
) -> Result<()> {
    for (index, workload) in workloads.iter().enumerate() {
        round.set(index, Column::Bare, bench.bare(workload)?);
        stop_if(ended)?;
    }
    Ok(())
}

fn with(
    bench: &Bench<'_>,
    recorder: &Path,
    workloads: &[Workload],
    columns: [Column; 2],
    round: &mut Round,
    ended: &impl Fn() -> bool,
) -> Result<()> {
    let daemon = Daemon::start(recorder)?;
    for (index, workload) in workloads.iter().enumerate() {
        for column in columns {
            let sample = if column == Column::Recorded {
                bench.recorded(workload, &daemon)?
            } else {
                bench.beside(workload, &daemon)?
            };
            round.set(index, column, sample);
            stop_if(ended)?;
        }
    }
    daemon.stop()
}

fn stop_if(ended: &impl Fn() -> bool) -> Result<()> {
    if ended() {
        bail!("interrupted");
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("find {}", path.display()))
}

/// The versions of the programs.
fn versions(recorder: &Path) -> Result<Vec<(&'static str, String)>> {
    let recorder = step::output(Command::new(recorder).arg("--version"))?;
    let recorder = recorder
        .trim()
        .trim_start_matches("agent-recorder ")
        .to_owned();
    let rustc = step::output(workspace::cargo().arg("--version"))?;
    let mut versions = vec![
        ("agent-recorder", recorder),
        ("cargo", rustc.split(' ').nth(1).unwrap_or("?").to_owned()),
    ];
    // The sources of a release have no repository.
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=12"])
        .current_dir(workspace::root());
    if let Ok(commit) = step::output(&mut git) {
        versions.push(("commit", commit.trim().to_owned()));
    }
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_comes_once_in_four_rounds() {
        let orders: Vec<_> = (0..4).map(order).collect();
        for (index, one) in orders.iter().enumerate() {
            assert!(!orders[index + 1..].contains(one), "{one:?}");
        }
        assert_eq!(order(4), order(0));
    }
}
