//! `cargo xtask crash-loop`: kills the daemon and the collector at named points again
//! and again, and verifies that no acknowledged record is lost.
//!
//! It builds both with those points, separately from the usual binary. The tests'
//! `crash_loop` program has the checks.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::step::{self, Steps};
use crate::toolchain::Toolchain;
use crate::workspace;

const FEATURE: &str = "fault-points";

/// The number of crashes, and the seed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often something is killed
    #[arg(long, default_value_t = 200, value_name = "N")]
    crashes: usize,
    /// What the points are drawn from
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// Builds and runs the loop. The exit status is its own.
///
/// # Errors
///
/// Something does not build, or the loop cannot be started.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let mut steps = Steps::new(4);
    let toolchain = steps.run("BPF toolchain", Toolchain::ready)?;
    steps.run("BPF object", || build::object(&toolchain))?;
    let place = workspace::target(FEATURE);
    steps.run("agent-recorder, with fault points", || {
        let mut cargo = workspace::cargo();
        cargo
            .args(["build", "-p", "agent-recorder", "--features", FEATURE])
            .arg("--target-dir")
            .arg(&place);
        step::run(&mut cargo)
    })?;
    let program = steps.run("the loop", || {
        build::binary("agent-recorder-tests", "crash_loop", Profile::Debug)
    })?;
    let status = step::as_root("env")?
        .arg(format!(
            "AGENT_RECORDER_BIN={}",
            place.join("debug/agent-recorder").display()
        ))
        .arg(program)
        .args(["--crashes", &args.crashes.to_string()])
        .args(["--seed", &args.seed.to_string()])
        .status()
        .context("start the loop")?;
    Ok(step::code(status.success()))
}
