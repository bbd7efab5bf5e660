//! `[guard]`: budgets, what may be thrown away, what is protected.
//!
//! Not here: how paths and names become keys of kernel maps (`guard::policy`).

use std::path::PathBuf;
use std::time::Duration;

use agent_recorder_abi::limits::{MAX_LIMIT, MAX_PROTECTED, NAME_KEY_BYTES, SUFFIX_BYTES};
use serde::{Deserialize, Serialize};

use super::{Wrong, duration};

/// `[guard]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// What happens at a limit.
    pub action: GuardAction,
    /// Files that a session may destroy within the window.
    pub limit: u64,
    /// The window.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Files that a session may destroy within the long window; 0 for any number.
    pub long_limit: u64,
    /// The long window.
    #[serde(with = "duration")]
    pub long_window: Duration,
    /// Bytes of files that a session may destroy within the window; 0 for any number.
    pub bytes: u64,
    /// The same within the long window.
    pub long_bytes: u64,
    /// Whether the built-in names and directories of what may be thrown away are used.
    pub builtin: bool,
    /// Further names of directories whose contents may be thrown away (`name`, or `parent/name`), and suffixes (`.o`).
    pub throwaway: Vec<String>,
    /// Built-in names, suffixes and temporary directories that do not count as such.
    pub keep: Vec<String>,
    /// Further temporary directories.
    pub temporary: Vec<PathBuf>,
    /// Paths with a limit of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<Protect>,
}

/// `[[guard.protect]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Protect {
    /// The directory, or file.
    pub path: PathBuf,
    /// Files below that a session may destroy in all.
    #[serde(default)]
    pub limit: u32,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            action: GuardAction::Kill,
            limit: 64,
            window: Duration::from_secs(10),
            long_limit: 512,
            long_window: Duration::from_secs(3600),
            bytes: 32 << 30,
            long_bytes: 256 << 30,
            builtin: true,
            throwaway: Vec::new(),
            keep: Vec::new(),
            temporary: Vec::new(),
            protect: Vec::new(),
        }
    }
}

/// What happens at a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardAction {
    /// Nothing is counted.
    Off,
    /// It is recorded.
    Alert,
    /// The session stops until a person resumes or kills it.
    Freeze,
    /// What goes over the limit is refused, and the session goes on.
    Deny,
    /// The session ends.
    Kill,
}

impl Guard {
    /// What makes no sense, and why.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let hour = Duration::from_secs(3600);
        if !(1..=MAX_LIMIT as u64).contains(&self.limit) {
            return Err(("limit", format!("must be from 1 to {MAX_LIMIT}")));
        }
        if !(Duration::from_millis(100)..=hour).contains(&self.window) {
            return Err(("window", "must be from 100ms to 1h".to_owned()));
        }
        if !(self.window..=hour * 24 * 7).contains(&self.long_window) {
            return Err((
                "long_window",
                "must be from `window` to a week (168h)".to_owned(),
            ));
        }
        if self.long_limit != 0 && self.long_limit < self.limit {
            let why = "must not be below `limit`: nothing would ever meet that";
            return Err(("long_limit", why.to_owned()));
        }
        if self.long_limit > 1 << 32 {
            return Err(("long_limit", "must be at most 4294967296".to_owned()));
        }
        if self.long_bytes != 0 && self.long_bytes < self.bytes {
            let why = "must not be below `bytes`: nothing would ever meet that";
            return Err(("long_bytes", why.to_owned()));
        }
        for (key, bytes) in [("bytes", self.bytes), ("long_bytes", self.long_bytes)] {
            if bytes != 0 && !(1 << 20..=1 << 60).contains(&bytes) {
                return Err((
                    key,
                    "must be 0, or from 1 MiB to 1 EiB, in bytes".to_owned(),
                ));
            }
        }
        self.check_names()?;
        self.check_paths()
    }

    fn check_names(&self) -> Result<(), Wrong> {
        for (key, names) in [("throwaway", &self.throwaway), ("keep", &self.keep)] {
            // A directory that is temporary by itself is named by its path.
            let is_path = |name: &&String| key == "keep" && name.starts_with('/');
            for name in names.iter().filter(|name| !is_path(name)) {
                let too_long = name.split('/').any(|part| part.len() >= NAME_KEY_BYTES)
                    || name.starts_with('.') && is_suffix(name) && name.len() > SUFFIX_BYTES;
                if name.is_empty() || too_long || name.split('/').count() > 2 {
                    let why = format!(
                        "{name:?} is no name, `parent/name` or suffix of less than {NAME_KEY_BYTES} bytes"
                    );
                    return Err((key, why));
                }
            }
        }
        if let Some(name) = self.throwaway.iter().find(|name| self.keep.contains(name)) {
            let why = format!("has {name:?}, which `throwaway` has, too");
            return Err(("keep", why));
        }
        Ok(())
    }

    fn check_paths(&self) -> Result<(), Wrong> {
        if let Some(path) = self.temporary.iter().find(|path| !path.is_absolute()) {
            return Err(("temporary", format!("{path:?} is not absolute")));
        }
        if let Some(protect) = self
            .protect
            .iter()
            .find(|protect| !protect.path.is_absolute())
        {
            return Err(("path", format!("{:?} is not absolute", protect.path)));
        }
        if self.protect.len() > MAX_PROTECTED {
            let why = format!("is there more than {MAX_PROTECTED} times");
            return Err(("path", why));
        }
        let is_both = |path| self.temporary.contains(path);
        if let Some(protect) = self.protect.iter().find(|protect| is_both(&protect.path)) {
            let why = format!("{:?} is among the `temporary` ones, too", protect.path);
            return Err(("path", why));
        }
        Ok(())
    }
}

/// Whether a name is one of a file's ending: `.o`. Those of directories that
/// begin with a dot are known by being built in, or by a slash behind them.
pub fn is_suffix(name: &str) -> bool {
    name.starts_with('.') && !name.contains('/')
}
