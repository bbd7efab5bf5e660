//! What the judge is told of the host: homes, and what the session itself made.
//!
//! Not here: bounds of the readers, which are constants beside each reader.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bounded_read::read_bounded;
use super::loss::Fault;

/// Answers whether the session made this name where there was none before.
type Planted = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// Most bytes of passwd(5) that are read.
const MOST_PASSWD: u64 = 4 << 20;

/// What the judge is told.
#[derive(Clone, Default)]
pub struct Settings {
    /// Home directories, as absolute paths below the root that a path is seen from.
    /// `/root` and each `/home/NAME` are homes without being named.
    pub homes: Vec<PathBuf>,
    /// A marker, a cache tag or a repository that the session made itself proves nothing
    /// about files that were there before. Without the predicate the judge cannot know,
    /// and believes them. A file that existed and was only rewritten is not planted.
    pub planted: Option<Planted>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Settings");
        shown.field("homes", &self.homes);
        shown.field("planted", &self.planted.is_some());
        shown.finish()
    }
}

impl Settings {
    /// The homes of this host's users, from passwd(5).
    pub fn of_host() -> Result<Self, Fault> {
        let passwd = Path::new("/etc/passwd");
        let text = read_bounded(passwd, MOST_PASSWD)?;
        Ok(Self {
            homes: homes(&text),
            planted: None,
        })
    }

    /// Whether a directory is somebody's home. `inside` is its path below its root.
    pub(super) fn is_home(&self, inside: &Path) -> bool {
        inside == Path::new("/root")
            || inside.parent() == Some(Path::new("/home"))
            || self.homes.iter().any(|home| home == inside)
    }

    pub(super) fn is_planted(&self, path: &Path) -> bool {
        self.planted.as_ref().is_some_and(|planted| planted(path))
    }
}

/// The sixth field of each line. Homes of system users (`/usr/sbin`, `/nonexistent`) do
/// no harm: a home only bounds what the judge believes. `/` bounds nothing, and is left
/// out.
fn homes(passwd: &[u8]) -> Vec<PathBuf> {
    passwd
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b':').nth(5))
        .filter(|home| home.len() > 1 && home.starts_with(b"/"))
        .map(|home| PathBuf::from(OsStr::from_bytes(home)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_are_those_of_passwd_without_the_root_directory() {
        let text = b"root:x:0:0::/root:/bin/sh\nbuild:x:9:9::/srv/build:/bin/sh\nx:x:1:1::/:/x\n";
        let settings = Settings {
            homes: homes(text),
            planted: None,
        };
        assert!(settings.is_home(Path::new("/srv/build")));
        assert!(settings.is_home(Path::new("/home/anybody")));
        assert!(!settings.is_home(Path::new("/")));
        assert!(!settings.is_home(Path::new("/home")));
    }
}
