//! `cargo xtask agents`: tries the recorder on every real agent that installs.
//!
//! This module builds and starts the trials. Their contents and the table are those
//! of the tests' `real_agents` program.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::setup;
use crate::step::{self, Steps, say};
/// The package of the trials and of the scripted model.
const TESTS: &str = "agent-recorder-tests";

/// The agents, and the kind of the trial.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Try these only; all by default
    names: Vec<String>,
    /// Install the newest version of each, not the one that is known to work
    #[arg(long)]
    latest: bool,
    /// Without the recorder: check the agents and the script alone
    #[arg(long)]
    alone: bool,
}

/// Builds and runs the trials. The exit status is theirs.
///
/// # Errors
///
/// Something does not build, or the trials cannot be started.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    let mut steps = Steps::new(5);
    build::recorder(&mut steps, Profile::Debug)?;
    steps.run("what the agents need", setup::for_tests)?;
    let trials = steps.run("the trials", || {
        build::binary(TESTS, "model_server", Profile::Debug)?;
        build::binary(TESTS, "real_agents", Profile::Debug)
    })?;
    say("each agent: installed from npm, run with loopback only, recorded, stopped");
    let path = std::env::var("PATH").context("read PATH")?;
    // sudo sets its own PATH; npm and the agents' interpreters are on the caller's.
    let mut command = step::as_root("env")?;
    command
        .arg(format!("PATH={path}"))
        .arg(trials)
        .args(&args.names);
    command.args(args.latest.then_some("--latest"));
    command.args(args.alone.then_some("--alone"));
    let status = command.status().context("start the trials")?;
    Ok(step::code(status.success()))
}
