//! The command line: what each command takes, and which exit status it gives.
//!
//! Data goes to stdout, everything else to stderr. One file a command; none
//! of them decides anything that a room behind it could decide.

mod replay;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Common {
    /// The configuration file; built-in defaults where it does not exist and was not named.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Spool, keys and control socket (default /var/lib/agent-recorder).
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Which kernel hooks to use (default auto).
    #[arg(long, global = true, value_name = "PROFILE")]
    pub profile: Option<String>,
}

impl Common {
    /// The state directory in force.
    fn state_dir(&self) -> PathBuf {
        self.state_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from("/var/lib/agent-recorder"))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a command as a session.
    Run(run::Args),
    /// Show what happened.
    Replay(replay::Args),
}

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bad input.
    #[error("{0}")]
    Usage(String),
    /// The recorder could not work.
    #[error(transparent)]
    Recorder(#[from] crate::recorder::Error),
    /// The store could not be read.
    #[error(transparent)]
    Spool(#[from] crate::spool::Error),
    /// The session could not be found.
    #[error(transparent)]
    Select(#[from] crate::replay::SelectError),
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
}

impl Error {
    /// 2 for usage and bad input, 1 otherwise.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Select(_) => 2,
            Self::Recorder(_) | Self::Spool(_) | Self::System { .. } => 1,
        }
    }
}

/// Runs the program; the exit status is as each command names it.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Run(args) => run::run(args, &cli.common),
        Command::Replay(args) => replay::run(args, &cli.common),
    };
    result.unwrap_or_else(|error| {
        eprintln!("agent-recorder: {error}");
        ExitCode::from(error.exit_code())
    })
}
