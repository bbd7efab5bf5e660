//! `cargo xtask agents`: tries the recorder on every real agent that installs.
//!
//! Builds nothing of the recorder itself; the command before it does. What is
//! tried, and how, is the tests' business: this only runs their program.

use std::process::{Command, ExitCode};

use anyhow::Context;

/// Which agents, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Try these only; all by default.
    names: Vec<String>,
    /// Install the newest version of each, not the one that is known to work.
    #[arg(long)]
    latest: bool,
    /// Without the recorder: check the agents and the script alone.
    #[arg(long)]
    alone: bool,
}

/// Builds the tests' programs and runs the trials; its exit status is theirs.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .args(["build", "--package", "agent-recorder", "--package", "agent-recorder-tests"])
        .status()
        .context("run cargo build")?;
    anyhow::ensure!(built.success(), "cargo build failed");
    let flags = [(args.latest, "--latest"), (args.alone, "--alone")];
    let tried = Command::new(&cargo)
        .args(["run", "--quiet", "--package", "agent-recorder-tests", "--bin", "real_agents", "--"])
        .args(flags.iter().filter(|(given, _)| *given).map(|(_, flag)| flag))
        .args(&args.names)
        .status()
        .context("run the trials")?;
    Ok(if tried.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
