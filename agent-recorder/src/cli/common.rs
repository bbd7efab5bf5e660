//! Options of every command, and the form of its output.

use std::path::PathBuf;

use crate::config::{DEFAULT_FILE, DEFAULT_STATE_DIR, Profile};

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", help = config_help())]
    pub config: Option<PathBuf>,
    /// The directory of the spool, the keys and the control socket.
    #[arg(long, global = true, value_name = "DIR", help = state_dir_help())]
    pub state_dir: Option<PathBuf>,
    /// Kernel hooks to use, instead of those that the configuration names
    #[arg(long, global = true, value_name = "PROFILE")]
    pub profile: Option<Profile>,
}

fn config_help() -> String {
    format!(
        "Read this configuration file [default: {DEFAULT_FILE}, or the built-in defaults where that does not exist]"
    )
}

fn state_dir_help() -> String {
    format!(
        "Directory of the spool, the keys and the control socket, instead of the one that the configuration names [default: {DEFAULT_STATE_DIR}]"
    )
}

/// The form of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// Text for a person
    Text,
    /// JSON, one object a line
    Json,
}
