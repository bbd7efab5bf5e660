//! `cargo xtask test`: every check and every test, on a machine in any state.
//!
//! After a failed phase the later ones run, unless they need its results. The exit
//! status is that of all phases.

mod e2e;
pub(crate) mod outcome;
mod passed;
pub(crate) mod program;
pub(crate) mod retry;
mod summary;

use std::path::Path;
use std::process::ExitCode;
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context as _, Result, anyhow, bail};

use self::outcome::Counts;
use self::passed::Candidate;
use self::program::{Group, User};
use self::summary::Summary;
use crate::artifacts::{Artifact, Linted};
use crate::leftovers::Snapshot;
use crate::setup;
use crate::skips::{Expected, HOST};
use crate::step::{self, Steps, say};
use crate::toolchain::Toolchain;
use crate::vm::{self, Extent, Guests};
use crate::workspace;
use crate::{build, libtest};

/// Which tests to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this; leaves out formatting, lints and guests
    filter: Option<String>,
    /// All that guests can run, on every kernel in every profile, instead of the
    /// quick part on two; takes hours and writes docs/evidence/kernel-rows.md
    #[arg(long, conflicts_with = "filter")]
    full: bool,
}

impl Args {
    /// The guests of a run without a filter.
    fn extent(&self) -> Option<Extent> {
        let extent = if self.full { Extent::Full } else { Extent::Two };
        self.filter.is_none().then_some(extent)
    }
}

/// The place of unit tests in the summary.
const UNIT: &str = "unit";

/// Runs all phases and prints their results; the last line counts the tests.
///
/// # Errors
///
/// The requirements of the tests cannot be installed or do not compile.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let candidate = Candidate::begin()?;
    let extent = args.extent();
    let mut steps = Steps::new(if extent.is_some() { 11 } else { 7 });
    let mut summary = Summary::default();
    let run = phases(&mut steps, &mut summary, args);
    say("phases");
    eprintln!("{}", steps.table());
    eprintln!("{}", summary.text());
    run?;
    let is_well = steps.all_ok();
    if is_well && extent.is_some() {
        candidate.passed()?;
    }
    say(if is_well { "all passed" } else { "FAILED" });
    println!("{}", summary.line());
    Ok(step::code(is_well))
}

fn phases(steps: &mut Steps, summary: &mut Summary, args: &Args) -> Result<()> {
    let extent = args.extent();
    steps.run("what the tests run", || {
        setup::for_tests()?;
        extent.map_or(Ok(()), |_| setup::for_guests())
    })?;
    thread::scope(|scope| {
        // Fetching uses the network, while the compilers use the cores.
        let kernels = extent.map(|extent| scope.spawn(move || vm::prepare(extent)));
        if extent.is_some() {
            steps.check("formatting", || {
                step::run(workspace::cargo().args(["fmt", "--all", "--check"]))
            });
        }
        let is_new = !Toolchain::is_here();
        let object = scope.spawn(|| build::object(&Toolchain::ready()?));
        // A new clone builds bpf-linker and all packages, side by side. Elsewhere the
        // object comes first: what embeds it would be built twice.
        steps.run("BPF toolchain and object", || {
            if is_new {
                build::everything()?;
            }
            joined(object)
        })?;
        let Linted { programs, warnings } =
            steps.run("binaries and tests, built", build::everything)?;
        if extent.is_some() {
            steps.check("lints", || lints(warnings));
        }
        // The end-to-end tests wait much of their time.
        let guests = extent.map(|extent| scope.spawn(move || vm::guests(extent)));
        on_host(steps, summary, args, &programs)?;
        let Some((extent, (kernels, guests))) = extent.zip(kernels.zip(guests)) else {
            return Ok(());
        };
        steps.check("other kernels, fetched", || joined(kernels));
        steps.check("other kernels, in guests", || {
            in_guests(extent, &joined(guests)?, summary)
        });
        Ok(())
    })
}

/// The result of a thread beside the steps.
fn joined<T>(work: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    work.join()
        .unwrap_or_else(|_| Err(anyhow!("a thread beside the steps panicked")))
}

fn lints(warnings: usize) -> Result<()> {
    match warnings {
        0 => Ok(()),
        1 => bail!("the build has a warning, which is above"),
        more => bail!("the build has {more} warnings, which are above"),
    }
}

fn on_host(
    steps: &mut Steps,
    summary: &mut Summary,
    args: &Args,
    programs: &[Artifact],
) -> Result<()> {
    let logs = program::fresh_logs()?;
    let filter = args.filter.as_deref();
    let (end_to_end, units): (Vec<_>, Vec<_>) = programs
        .iter()
        .filter(|program| program.is_test)
        .partition(|program| program.kind == "test");
    steps.check("unit tests", || {
        let units = units.iter().map(|unit| program::whole(unit));
        let groups = filtered(units.collect::<Result<_>>()?, filter);
        run(&groups, UNIT, User::Ours, &logs.join(UNIT), summary)
    });
    steps.check("documentation tests", || documentation(filter, summary));
    let before = Snapshot::take().context("look at the machine before the end-to-end tests")?;
    steps.check("end-to-end tests, as root", || {
        let groups = end_to_end.iter().map(|program| program::groups(program));
        let groups = groups.collect::<Result<Vec<_>>>()?.concat();
        run(&filtered(groups, filter), HOST, User::Root, &logs, summary)
    });
    steps.check("nothing left behind", || before.expect_nothing_new());
    Ok(())
}

/// The groups, with only those tests whose names contain the filter.
fn filtered(mut groups: Vec<Group>, filter: Option<&str>) -> Vec<Group> {
    for group in &mut groups {
        let is_wanted = |test: &String| filter.is_none_or(|filter| test.contains(filter));
        group.tests.retain(is_wanted);
    }
    groups.retain(|group| !group.tests.is_empty());
    groups
}

fn run(
    groups: &[Group],
    place: &str,
    user: User,
    logs: &Path,
    summary: &mut Summary,
) -> Result<()> {
    if user == User::Root && !step::is_root() {
        say("these tests load kernel programs: they are started through sudo");
    }
    let outcome = e2e::run(groups, place, user, logs)?;
    let complaints = outcome.complaints(&Expected::read()?);
    let failed = outcome.failed().len();
    summary.add(outcome);
    verdict(failed, &complaints)
}

fn in_guests(extent: Extent, guests: &Guests, summary: &mut Summary) -> Result<()> {
    let (outcomes, rows) = vm::test(extent, guests)?;
    let expected = Expected::read()?;
    let mut complaints = Vec::new();
    for outcome in outcomes {
        complaints.extend(outcome.complaints(&expected));
        summary.add(outcome);
    }
    rows?;
    verdict(0, &complaints)
}

fn verdict(failed: usize, complaints: &[String]) -> Result<()> {
    match (failed, complaints) {
        (0, []) => Ok(()),
        (0, complaints) => bail!("{}", complaints.join("; ")),
        (failed, []) => bail!("{failed} tests failed"),
        (failed, complaints) => bail!("{failed} tests failed; {}", complaints.join("; ")),
    }
}

/// Runs the documentation tests. Only cargo can build them, so their number is that
/// in its output.
fn documentation(filter: Option<&str>, summary: &mut Summary) -> Result<()> {
    let mut cargo = workspace::cargo();
    workspace::with_lints(&mut cargo)
        .args(["test", "--workspace", "--no-fail-fast", "--doc"])
        .args(filter);
    let said = cargo
        .output()
        .with_context(|| format!("start `{}`", step::shown(&cargo)))?;
    let text = String::from_utf8_lossy(&said.stdout);
    let (passed, failed, skipped) = libtest::counts(&text);
    summary.count(Counts {
        passed,
        failed,
        skipped,
    });
    if !said.status.success() {
        eprintln!("{text}{}", String::from_utf8_lossy(&said.stderr));
        bail!("`{}` ended with {}", step::shown(&cargo), said.status);
    }
    Ok(())
}
