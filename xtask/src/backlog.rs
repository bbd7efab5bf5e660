//! `cargo xtask backlog`: a collector that comes back after six hours.
//!
//! The tests' `backlog` program has the work and its checks.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::step::{self, Steps};
use crate::toolchain::Toolchain;

/// The size of the backlog.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Records that nobody has collected yet: six hours of 2,000 a second
    #[arg(long, default_value_t = 43_200_000, value_name = "N")]
    records: u64,
}

/// Builds and runs the program. The exit status is its own.
///
/// # Errors
///
/// Something does not build, or the program cannot be started.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let mut steps = Steps::new(4);
    let toolchain = steps.run("BPF toolchain", Toolchain::ready)?;
    steps.run("BPF object", || build::object(&toolchain))?;
    let recorder = steps.run("agent-recorder", || {
        build::binary("agent-recorder", "agent-recorder", Profile::Release)
    })?;
    let program = steps.run("the backlog", || {
        build::binary("agent-recorder-tests", "backlog", Profile::Release)
    })?;
    let status = Command::new(program)
        .env("AGENT_RECORDER_BIN", recorder)
        .args(["--records", &args.records.to_string()])
        .status()
        .context("start the program")?;
    Ok(step::code(status.success()))
}
