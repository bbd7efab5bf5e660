//! The command line: what each command takes, and which exit status it gives.
//!
//! Data goes to stdout, everything else to stderr. One file a command; none
//! of them decides anything that a room behind it could decide.

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

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {}

/// Runs the program; the exit status is as `design` names it per command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {}
}
