//! The command line: the arguments and the exit status of each command.
//!
//! Data goes to stdout, everything else to stderr. Each command has one file. No
//! command makes a decision that belongs to a lower room.

mod canary;
mod collect;
mod common;
mod config;
mod connect;
mod daemon;
mod doctor;
mod error;
mod exit_status;
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

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::config::Answer;
use crate::control::Act;
pub use common::Common;
use common::Format;
pub use error::Error;
use error::LOSS;
pub use exit_status::{ENVIRONMENT, ExitStatus, Variable, exit_statuses};

/// Record what AI agents do on this host, and stop those that destroy in bulk.
#[derive(Debug, Parser)]
#[command(name = "agent-recorder", version, propagate_version = true)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub common: Common,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command and record it as a session
    ///
    /// A running daemon records the session. Without a daemon, this process records it until its last process ends.
    /// At the end, one line on standard error names the session's id.
    Run(run::Args),
    /// Record every agent on this host, until SIGTERM or SIGINT
    ///
    /// The daemon stays in the foreground and tells systemd when it is ready. It recognises agents by rules, and
    /// records each with all its descendants as a session. It ignores SIGHUP.
    Daemon(daemon::Args),
    /// List the sessions that run, and the programs that are held
    ///
    /// The daemon answers. The last lines name the programs that wait for `approve` or `deny`.
    Sessions(sessions::Args),
    /// Kill every process of a session
    Kill(sessions::ActArgs),
    /// Stop every process of a session until `resume` or `kill`
    Freeze(sessions::ActArgs),
    /// Let a frozen session go on
    Resume(sessions::ActArgs),
    /// Let a held program run
    ///
    /// A program is held before its first instruction when it meets a rule of the gate whose action is `hold`.
    Approve(gate::Args),
    /// End a held program, which has not run
    Deny(gate::Args),
    /// Show the records of a session
    Replay(replay::Args),
    /// Show every recorded act on a path, newest last, and who did it
    Who(who::Args),
    /// Receive the streams of many hosts and store them, until SIGTERM or SIGINT
    ///
    /// Each option takes precedence over its key in the configuration's `[collector]`.
    Collect(collect::Args),
    /// Make the certificates with which hosts and a collector recognise each other
    ///
    /// Make a CA first, then one certificate for the collector and one for each host. Each command prints the files
    /// that it made.
    Keys(keys::Args),
    /// Check whether records were altered, removed or cut off
    ///
    /// One line for each stream says what was found. The exit status is that of the worst stream.
    Verify(verify::Args),
    /// Say what this kernel allows, what is missing, and what helps
    ///
    /// The command loads and attaches the kernel programs, and removes them again.
    Doctor(doctor::Args),
    /// Check or print the configuration
    Config(config::Args),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff
    Man,
    /// What the daemon starts to see whether its hooks still fire.
    #[command(hide = true)]
    Canary(canary::Args),
}

/// The definition of the command line, from which `--help`, the manual page, shell completions and
/// docs/reference/command-line.md are made.
pub fn command() -> clap::Command {
    exit_status::document(Cli::command())
}

fn manual() -> Result<ExitCode, Error> {
    clap_mangen::Man::new(command())
        .render(&mut std::io::stdout())
        .map_err(|source| Error::System {
            what: "write to standard output".to_owned(),
            source,
        })?;
    Ok(ExitCode::SUCCESS)
}

/// Whether stdout is a terminal whose user accepts colours (no-color.org).
fn has_colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}

/// Starts the log: warnings and errors go to standard error, more by
/// AGENT_RECORDER_LOG.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("AGENT_RECORDER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,agent_recorder=info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(has_colours())
        .init();
}

/// Runs the program, and returns the exit status of its command.
pub fn main() -> ExitCode {
    // Exits the process for an invalid command line, and for `--help` and
    // `--version`.
    let cli = Cli::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
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
                &mut command(),
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
