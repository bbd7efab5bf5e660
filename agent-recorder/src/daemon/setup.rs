//! The parts of a recorder.
//!
//! Not here: their source (`cli::setup`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::session::RuleName;
use crate::{bpf, config, guard, spool};

/// The parts of a recorder.
#[derive(Debug)]
pub struct Setup {
    /// Settings of the kernel programs.
    pub kernel: bpf::Options,
    /// Names of the rules, in the order of their numbers.
    pub rules: Vec<RuleName>,
    /// Directory of the streams.
    pub spool: PathBuf,
    /// Retention and format of the streams.
    pub keep: spool::Options,
    /// Policy of the guard.
    pub policy: guard::Policy,
    /// Rules of the gate.
    pub gate: guard::gate::Gate,
    /// Whether there is a person who answers for held programs.
    pub asks: bool,
    /// Policy for work that leaves a session.
    pub handoff: config::HandOff,
    /// Paths of the recorder's own beside its process: first the state directory,
    /// then the configuration.
    pub own: Vec<PathBuf>,
    /// Interval between canaries; zero: none.
    pub canary: Duration,
    /// Directory of the kernel programs' pins, by which they outlive a killed
    /// recorder; empty: none.
    pub pins: PathBuf,
    /// Whether sessions continue for the next recorder when this one stops by itself.
    pub leaves: bool,
    /// Whether the recorder takes over from a killed one. A daemon does; a `run` does
    /// not.
    pub takes_over: bool,
}

impl Setup {
    /// The state directory.
    pub(super) fn state(&self) -> &Path {
        self.own.first().map_or(Path::new("/"), PathBuf::as_path)
    }
}
