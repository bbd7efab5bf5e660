//! `[handoff]`: the ways by which work leaves a session, and the treatment of heirs.
//!
//! Not here: comparing records with the ways (`session::handoff`).

use std::sync::LazyLock;

use globset::{Glob, GlobBuilder};
use serde::{Deserialize, Serialize};

use super::Wrong;
use super::built_in::HAND_OFF;

/// `[handoff]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct HandOff {
    /// Whether the recorder uses its built-in patterns of sockets and files.
    pub builtin: bool,
    /// More patterns for unix sockets of services that work for others. A connect to such a socket is a
    /// hand-off. `*` stays within a name, `**` stands for any number of names, and a leading `@` marks an
    /// abstract socket.
    pub sockets: Vec<String>,
    /// More patterns for files that programs outside the session run or read, as in `sockets`. A change of such
    /// a file is a hand-off.
    pub files: Vec<String>,
    /// What happens when a process outside the session starts a file that the session wrote.
    pub heirs: Heirs,
}

impl Default for HandOff {
    fn default() -> Self {
        Self {
            builtin: true,
            sockets: Vec::new(),
            files: Vec::new(),
            heirs: Heirs::default(),
        }
    }
}

/// The treatment of a process that starts a file which a session wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Heirs {
    /// The recorder does nothing.
    Off,
    /// The recorder writes a record.
    #[default]
    Record,
    /// The recorder writes a record, and the process belongs to the session from then on, with its descendants.
    /// When the session has ended, the process starts a session of its own.
    Join,
}

/// A way by which work leaves a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Docker, containerd and similar engines.
    ContainerEngine,
    /// systemd, init.
    ServiceManager,
    /// D-Bus.
    MessageBus,
    /// cron, at.
    Scheduler,
    /// tmux, screen.
    TerminalMultiplexer,
    /// Hooks of a version control system.
    HookFile,
    /// Files that logins and shells read.
    StartupFile,
}

/// `hand_off.toml`
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HandOffWays {
    /// The ways. The first one that a socket or a file matches applies.
    #[serde(rename = "way")]
    pub ways: Vec<HandOffWay>,
}

/// `[[way]]`: globs as `[handoff]` has them.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HandOffWay {
    /// The way.
    #[serde(rename = "name")]
    pub way: Way,
    /// Unix sockets of services that work for any client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<String>,
    /// Files that other programs run or read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
}

impl HandOffWays {
    /// The built-in file.
    pub fn built_in() -> &'static Self {
        static READ: LazyLock<HandOffWays> = LazyLock::new(|| HAND_OFF.read());
        &READ
    }
}

impl HandOff {
    /// The built-in ways in use.
    pub fn built_in(&self) -> &'static [HandOffWay] {
        if self.builtin {
            &HandOffWays::built_in().ways
        } else {
            &[]
        }
    }

    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        for (key, globs) in [("sockets", &self.sockets), ("files", &self.files)] {
            for (index, pattern) in globs.iter().enumerate() {
                let at = format!("handoff.{key}.{index}");
                if !pattern.starts_with(['/', '@', '*']) {
                    let why = "must begin with a slash, `**`, or `@` for an abstract socket";
                    return Err(Wrong::new(at, why));
                }
                self::glob(pattern).map_err(|error| Wrong::new(at, error.kind().to_string()))?;
            }
        }
        Ok(())
    }
}

/// Compiles a path's pattern. `*` stays within a name.
///
/// # Errors
///
/// The pattern is no glob.
pub fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern)
        .literal_separator(true)
        .empty_alternates(true)
        .build()
}
