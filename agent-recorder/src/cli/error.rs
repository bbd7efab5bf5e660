//! The error that ends a command, and its exit status.

use std::path::PathBuf;

/// An error that ends a command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bad input.
    #[error("{0}")]
    Usage(String),
    /// The recorder could not work.
    #[error(transparent)]
    Recorder(#[from] crate::daemon::Error),
    /// The store could not be read.
    #[error(transparent)]
    Spool(#[from] crate::spool::Error),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] crate::config::Error),
    /// A rule is wrong.
    #[error(transparent)]
    Rule(#[from] crate::session::agents::Error),
    /// The daemon cannot be reached, or refuses.
    #[error(transparent)]
    Control(#[from] crate::control::Error),
    /// The collector failed.
    #[error(transparent)]
    Collector(#[from] crate::collector::Error),
    /// Keys or certificates are invalid.
    #[error(transparent)]
    Identity(#[from] crate::identity::Error),
    /// Another daemon is running.
    #[error("a daemon runs already with the state directory {state_dir}: process {pid}")]
    Running {
        /// Pid of the other daemon.
        pid: String,
        /// The directory.
        state_dir: PathBuf,
    },
    /// The session could not be found.
    #[error(transparent)]
    Select(#[from] crate::replay::SelectError),
    /// A filter of the replay is invalid.
    #[error(transparent)]
    Filter(#[from] crate::replay::FilterError),
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// Exit status when records or bytes are missing in the output.
pub(super) const LOSS: u8 = 3;

impl Error {
    /// The exit status: 2 for usage and bad input, 1 otherwise.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_)
            | Self::Identity(_)
            | Self::Filter(_)
            | Self::Select(_)
            | Self::Config(_)
            | Self::Rule(_) => 2,
            Self::Recorder(_)
            | Self::Spool(_)
            | Self::Control(_)
            | Self::Collector(_)
            | Self::Running { .. }
            | Self::System { .. } => 1,
        }
    }
}
