//! Options that every command takes, and how commands show what they found.

use std::path::PathBuf;

use crate::config::Profile;

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The configuration file; built-in defaults where it does not exist and was not named.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Spool, keys and control socket (default /var/lib/agent-recorder).
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Which kernel hooks to use: lsm, fentry, tracepoint, or the strongest that this kernel allows (default auto).
    #[arg(
        long,
        global = true,
        value_name = "PROFILE",
        hide_possible_values = true
    )]
    pub profile: Option<Profile>,
}

/// How a command shows what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For a person to read.
    Text,
    /// JSON, one object a line.
    Json,
}
