//! The command line: what each command takes, and which exit status it gives.
//!
//! Data goes to stdout, everything else to stderr. One file a command; none
//! of them decides anything that a room behind it could decide.

mod canary;
mod collect;
mod common;
mod config;
mod connect;
mod daemon;
mod doctor;
mod error;
mod gate;
mod keys;
mod replay;
mod run;
mod sessions;
mod setup;
mod systemd;
mod verify;
mod who;

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::Answer;
use crate::control::Act;
pub use common::Common;
use common::Format;
pub use error::Error;
use error::LOSS;

/// Records what AI agents do on this host, and stops those that destroy in bulk.
#[derive(Debug, Parser)]
#[command(name = "agent-recorder", version, propagate_version = true)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command as a session.
    Run(run::Args),
    /// Record every agent on this host, until it is told to stop.
    Daemon(daemon::Args),
    /// List the sessions that run.
    Sessions(sessions::Args),
    /// End every process of a session.
    Kill(sessions::ActArgs),
    /// Stop every process of a session, for now.
    Freeze(sessions::ActArgs),
    /// Let a stopped session go on.
    Resume(sessions::ActArgs),
    /// Let a program run that is held before its first instruction.
    Approve(gate::Args),
    /// End it; it has done nothing.
    Deny(gate::Args),
    /// Show what happened.
    Replay(replay::Args),
    /// Show every recorded act on a path, newest last, and by whom.
    Who(who::Args),
    /// Take the streams of many hosts and keep them.
    Collect(collect::Args),
    /// Make a private CA, a collector's and hosts' certificates.
    Keys(keys::Args),
    /// Say whether anything was altered, removed or cut off.
    Verify(verify::Args),
    /// Say what this kernel allows, what is missing, and the remedy.
    Doctor(doctor::Args),
    /// Check or show the configuration.
    Config(config::Args),
    /// Print a shell's completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
    /// What the daemon starts to see whether its hooks still fire.
    #[command(hide = true)]
    Canary(canary::Args),
}

fn manual() -> Result<ExitCode, Error> {
    clap_mangen::Man::new(Cli::command())
        .render(&mut std::io::stdout())
        .map_err(|source| Error::System {
            what: "write to standard output".to_owned(),
            source,
        })?;
    Ok(ExitCode::SUCCESS)
}

/// For a terminal whose user has not asked for none (no-color.org).
fn has_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}

/// Warnings and worse go to standard error, more by AGENT_RECORDER_LOG.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("AGENT_RECORDER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,agent_recorder=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(has_colours())
        .init();
}

/// Runs the program; the exit status is as each command names it.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    #[cfg(feature = "fault-points")]
    let _points = crate::fault::begin();
    let result = match &cli.command {
        Command::Run(args) => run::run(args, &cli.common),
        Command::Daemon(args) => daemon::run(args, &cli.common),
        Command::Sessions(args) => sessions::run(args, &cli.common),
        Command::Kill(args) => sessions::act(args, Act::Kill, &cli.common),
        Command::Freeze(args) => sessions::act(args, Act::Freeze, &cli.common),
        Command::Resume(args) => sessions::act(args, Act::Resume, &cli.common),
        Command::Approve(args) => gate::run(args, Answer::Approve, &cli.common),
        Command::Deny(args) => gate::run(args, Answer::Deny, &cli.common),
        Command::Replay(args) => replay::run(args, &cli.common),
        Command::Who(args) => who::run(args, &cli.common),
        Command::Collect(args) => collect::run(args, &cli.common),
        Command::Keys(args) => keys::run(args),
        Command::Verify(args) => verify::run(args, &cli.common),
        Command::Doctor(args) => doctor::run(args, &cli.common),
        Command::Config(args) => config::run(args, &cli.common),
        Command::Completions { shell } => {
            clap_complete::generate(
                *shell,
                &mut Cli::command(),
                "agent-recorder",
                &mut std::io::stdout(),
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => manual(),
        Command::Canary(args) => canary::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("agent-recorder: {error}");
        ExitCode::from(error.exit_code())
    })
}
