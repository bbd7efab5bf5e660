//! `[guard]`: budgets, files that may be thrown away, protected paths.
//!
//! Not here: converting paths and names to keys of kernel maps (`guard::policy`).

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use agent_recorder_abi::limits::{
    MAX_LIMIT, MAX_NAMES, MAX_PLACES, MAX_PROTECTED, NAME_KEY_BYTES, SUFFIX_BYTES,
};
use serde::{Deserialize, Serialize};

use super::{Throwaway, Wrong, duration};

/// `[guard]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// What the guard does when a session reaches a limit.
    pub action: GuardAction,
    /// Whether the recorder looks at what a session destroyed before the guard ends or freezes it at a limit: the
    /// destroying process is stopped for that, at most half a second. What git, a package or a tool's project file
    /// can restore, and links and empty directories, no longer count then, and the session goes on. With `false`,
    /// and where no recorder lives, the guard acts at the limit at once. A shell with job control sees a stopped
    /// job.
    pub judge: bool,
    /// Number of files that a session may destroy within `window`, from 1 to 1024.
    pub limit: u64,
    /// Time over which the guard counts towards `limit` and `bytes`, from `100ms` to `1h`.
    #[serde(with = "duration")]
    pub window: Duration,
    /// Number of files that a session may destroy within `long_window`, at least `limit`. `0` sets no limit.
    pub long_limit: u64,
    /// Time over which the guard counts towards `long_limit` and `long_bytes`, from `window` to `168h`.
    #[serde(with = "duration")]
    pub long_window: Duration,
    /// Size of the files that a session may destroy within `window`, in bytes, from 1048576 (1 MiB) to 1 EiB.
    /// `0` sets no limit.
    pub bytes: u64,
    /// Size of the files that a session may destroy within `long_window`, in bytes, at least `bytes`. `0` sets
    /// no limit.
    pub long_bytes: u64,
    /// Whether the guard uses its built-in names and directories of files that may be thrown away.
    /// `agent-recorder config show` prints them.
    pub builtin: bool,
    /// More names of files that may be thrown away, which the guard does not count: a directory's `name` or
    /// `parent/name`, whose contents are meant, or a file's suffix such as `.o`. A directory whose name begins
    /// with a dot is written with a slash at the end, as in `.cache/`. A name has fewer than 28 bytes, a suffix
    /// at most 12.
    pub throwaway: Vec<String>,
    /// Built-in names, suffixes and temporary directories that the guard does count.
    pub keep: Vec<String>,
    /// More temporary directories, by absolute paths. The guard does not count files below them.
    pub temporary: Vec<PathBuf>,
    /// A path with a limit of its own. At most 32 of them. The limit has no window: it counts from the
    /// session's start to its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub protect: Vec<Protect>,
}

/// `[[guard.protect]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Protect {
    /// Absolute path of the directory or file.
    pub path: PathBuf,
    /// Number of files at or below `path` that a session may destroy. With `0` the guard acts at the first.
    #[serde(default)]
    pub limit: u32,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            action: GuardAction::Kill,
            judge: false,
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
    /// The guard counts nothing.
    Off,
    /// The guard writes an enforcement record, and the session goes on.
    Alert,
    /// The guard stops the session's processes until a person resumes or kills the session.
    Freeze,
    /// The guard refuses operations that go over the limit, and the session goes on. Where the profile cannot
    /// refuse, the guard ends the session.
    Deny,
    /// The guard ends the session.
    Kill,
}

/// The shortest window: a single slow call takes as long.
const SHORTEST: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3600);
/// The longest window: a person looks at a session that runs longer.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Most files in the long window: a larger number is no limit.
const MOST_FILES: u64 = 1 << 32;
/// Budgets of bytes: one file of a build can have less than the smallest, and no file
/// system has more than the largest.
const BYTES: RangeInclusive<u64> = 1 << 20..=1 << 60;
/// Most further temporary directories. Together with the parents of protected paths
/// they fit into the kernel's table.
const MOST_TEMPORARY: usize = MAX_PLACES as usize / 4;
/// Most further names. Together with the built-in ones, and two for each
/// `parent/name`, they fit into the kernel's table.
const MOST_THROWAWAY: usize = MAX_NAMES as usize / 4;

impl Guard {
    /// Checks the values.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        self.check_budgets()?;
        self.check_names()?;
        self.check_temporary()?;
        self.check_protected()
    }

    fn check_budgets(&self) -> Result<(), Wrong> {
        if !(1..=MAX_LIMIT as u64).contains(&self.limit) {
            let why = format!(
                "must be from 1 to {MAX_LIMIT}: for no file at all, protect the path with a limit of 0"
            );
            return Err(Wrong::new("guard.limit", why));
        }
        if !(SHORTEST..=HOUR).contains(&self.window) {
            return Err(Wrong::new("guard.window", "must be from 100ms to 1h"));
        }
        if !(self.window..=WEEK).contains(&self.long_window) {
            let why = "must be from `window` to a week (168h)";
            return Err(Wrong::new("guard.long_window", why).with("guard.window"));
        }
        if self.long_limit != 0 && self.long_limit < self.limit {
            let why = "must not be below `limit`: nothing would ever meet that";
            return Err(Wrong::new("guard.long_limit", why).with("guard.limit"));
        }
        if self.long_limit > MOST_FILES {
            let why = format!("must be at most {MOST_FILES}; 0 is for any number");
            return Err(Wrong::new("guard.long_limit", why));
        }
        for (key, bytes) in [
            ("guard.bytes", self.bytes),
            ("guard.long_bytes", self.long_bytes),
        ] {
            if bytes != 0 && !BYTES.contains(&bytes) {
                return Err(Wrong::new(
                    key,
                    "must be 0, or from 1 MiB to 1 EiB, in bytes",
                ));
            }
        }
        if self.long_bytes != 0 && self.long_bytes < self.bytes {
            let why = "must not be below `bytes`: nothing would ever meet that";
            return Err(Wrong::new("guard.long_bytes", why).with("guard.bytes"));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), Wrong> {
        for (position, name) in self.throwaway.iter().enumerate() {
            let too_long = name.split('/').any(|part| part.len() >= NAME_KEY_BYTES)
                || is_suffix(name) && name.len() > SUFFIX_BYTES;
            let bare = name.strip_suffix('/').unwrap_or(name);
            let is_name = !bare.is_empty() && bare.split('/').all(|part| !part.is_empty());
            if too_long || !is_name || bare.split('/').count() > 2 {
                let why = format!(
                    "has {name:?}, which is no name, `parent/name` or suffix of less than {NAME_KEY_BYTES} bytes"
                );
                return Err(Wrong::new(format!("guard.throwaway.{position}"), why));
            }
        }
        if self.throwaway.len() > MOST_THROWAWAY {
            let why = format!("has more than {MOST_THROWAWAY} names");
            return Err(Wrong::new("guard.throwaway", why));
        }
        for (position, name) in self.keep.iter().enumerate() {
            let wrong = |why| Wrong::new(format!("guard.keep.{position}"), why);
            if self.throwaway.contains(name) {
                let why = format!("has {name:?}, which `throwaway` has, too");
                return Err(wrong(why));
            }
            if !Throwaway::built_in().is_known(name) {
                let why =
                    format!("has {name:?}, which is not built in: `config show` prints what is");
                return Err(wrong(why));
            }
            if !self.builtin {
                let why = "takes names out of what is built in, and `builtin` is false";
                return Err(wrong(why.to_owned()).with("guard.builtin"));
            }
        }
        Ok(())
    }

    fn check_temporary(&self) -> Result<(), Wrong> {
        if self.temporary.len() > MOST_TEMPORARY {
            let why = format!("has more than {MOST_TEMPORARY} directories");
            return Err(Wrong::new("guard.temporary", why));
        }
        for (position, path) in self.temporary.iter().enumerate() {
            let wrong = |why| Wrong::new(format!("guard.temporary.{position}"), why);
            if !path.is_absolute() {
                return Err(wrong(format!("has {path:?}, which is not absolute")));
            }
            if path.parent().is_none() {
                let why = "has \"/\", below which everything is: nothing would ever count";
                return Err(wrong(why.to_owned()));
            }
            if let Some(above) = self.protect.iter().find(|it| path.starts_with(&it.path)) {
                let why = format!(
                    "has {path:?}, which the protected {:?} is or contains",
                    above.path
                );
                return Err(wrong(why));
            }
        }
        Ok(())
    }

    fn check_protected(&self) -> Result<(), Wrong> {
        for (position, Protect { path, .. }) in self.protect.iter().enumerate() {
            let wrong = |why| Wrong::new(format!("guard.protect.{position}.path"), why);
            if !path.is_absolute() {
                return Err(wrong(format!("{path:?} is not absolute")));
            }
            if self
                .protect
                .iter()
                .take(position)
                .any(|it| it.path == *path)
            {
                return Err(wrong(format!("{path:?} is protected twice")));
            }
            if position >= MAX_PROTECTED {
                return Err(wrong(format!("is there more than {MAX_PROTECTED} times")));
            }
        }
        Ok(())
    }
}

/// Whether a name is a file's suffix: `.o`. A directory whose name begins with a dot
/// is built in, or ends with a slash.
pub fn is_suffix(name: &str) -> bool {
    name.starts_with('.') && !name.contains('/')
}
