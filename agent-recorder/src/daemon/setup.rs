//! What a recorder is made of.
//!
//! Not here: where that comes from (`cli::setup`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::session::RuleName;
use crate::{bpf, config, guard, spool};

/// What a recorder is made of.
#[derive(Debug)]
pub struct Setup {
    /// What the kernel side takes.
    pub kernel: bpf::Options,
    /// The rules' names, in the order of their numbers.
    pub rules: Vec<RuleName>,
    /// Where streams are kept.
    pub spool: PathBuf,
    /// How they are kept.
    pub keep: spool::Options,
    /// What the guard decides by.
    pub policy: guard::Policy,
    /// What programs are judged by before they run.
    pub gate: guard::gate::Gate,
    /// Whether there is somebody who answers for what is held.
    pub asks: bool,
    /// How work leaves a session.
    pub handoff: config::HandOff,
    /// What is the recorder's own beside its process: the state directory, first, and the configuration.
    pub own: Vec<PathBuf>,
    /// How often a canary shows that the hooks fire; zero: never.
    pub canary: Duration,
    /// Where the kernel programs are pinned, to outlive a recorder that is
    /// killed; empty: nowhere.
    pub pins: PathBuf,
    /// Whether sessions, too, go on when it stops by itself, for the next one.
    pub leaves: bool,
    /// Whether it goes on with what a recorder that was killed left, as a daemon
    /// does and a run by itself does not.
    pub takes_over: bool,
}

impl Setup {
    /// The state directory.
    pub(super) fn state(&self) -> &Path {
        self.own.first().map_or(Path::new("/"), PathBuf::as_path)
    }
}
