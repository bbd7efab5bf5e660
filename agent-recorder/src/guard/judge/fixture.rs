//! A tree for tests: a home with repositories that git itself made, and losses taken from
//! real files.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use super::{Act, Holder, Judgement, Loss, Modified, Object, Settings, judge};

/// Long enough for a debug build beside other builds.
const BOUND: Duration = Duration::from_secs(20);

pub(super) struct Tree {
    directory: tempfile::TempDir,
    pub(super) settings: Settings,
}

impl Tree {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().join("home");
        fs::create_dir(&home).unwrap();
        let settings = Settings {
            homes: vec![home],
            planted: None,
        };
        Self {
            directory,
            settings,
        }
    }

    /// A path below the tree; the home is `home`.
    pub(super) fn at(&self, path: &str) -> PathBuf {
        assert!(!path.starts_with('/'), "{path} is outside the tree");
        self.directory.path().join(path)
    }

    /// Writes a file that is an hour old, so that no index entry is racy.
    pub(super) fn write(&self, path: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        self.age(&path, Duration::from_secs(3600));
        path
    }

    pub(super) fn age(&self, path: &Path, age: Duration) {
        let times = FileTimes::new().set_modified(SystemTime::now() - age);
        let file = File::options().write(true).open(path).unwrap();
        file.set_times(times).unwrap();
    }

    /// Runs git, neutrally.
    pub(super) fn git<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, at: &str, words: I) {
        let status = Command::new("git")
            .current_dir(self.at(at))
            .args(["-c", "user.name=x", "-c", "user.email=x@example.org"])
            .args([
                "-c",
                "protocol.file.allow=always",
                "-c",
                "init.defaultBranch=main",
            ])
            .args(["-c", "gc.auto=0", "-c", "maintenance.auto=false"])
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", self.directory.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&status.stderr);
        assert!(status.status.success(), "{error}");
    }

    /// A repository with one commit of `a.txt`, `src/b.txt` and a `.gitignore`.
    pub(super) fn repository(&self, at: &str) {
        fs::create_dir_all(self.at(at)).unwrap();
        self.git(at, ["init", "-q"]);
        self.write(&format!("{at}/a.txt"), "alpha\n");
        self.write(&format!("{at}/src/b.txt"), "beta, longer\n");
        self.write(&format!("{at}/.gitignore"), "*.log\n/made/\n/lib/\n.env\n");
        self.git(at, ["add", "."]);
        self.git(at, ["commit", "-qm", "first"]);
    }

    /// A file as a loss, still there.
    pub(super) fn loss(&self, path: &str) -> Loss {
        let path = self.at(path);
        let found = fs::symlink_metadata(&path).unwrap();
        let kind = found.file_type();
        let object = if kind.is_file() {
            Object::File
        } else if kind.is_dir() {
            Object::Directory
        } else if kind.is_symlink() {
            Object::Link
        } else {
            Object::Other
        };
        Loss {
            name: path.clone(),
            path,
            act: Act::Removed,
            object,
            size: found.len(),
            modified: Modified {
                seconds: found.mtime(),
                nanoseconds: found.mtime_nsec().try_into().unwrap(),
            },
            inode: found.ino(),
        }
    }

    /// Removes a file, and says what went.
    pub(super) fn remove(&self, path: &str) -> Loss {
        let loss = self.loss(path);
        if loss.object == Object::Directory {
            fs::remove_dir(&loss.path).unwrap();
        } else {
            fs::remove_file(&loss.path).unwrap();
        }
        loss
    }

    pub(super) fn judge(&self, losses: &[Loss]) -> Judgement {
        judge(losses, &self.settings, Instant::now() + BOUND)
    }

    /// What holds one file that is removed.
    pub(super) fn holder(&self, path: &str) -> Holder {
        let loss = self.remove(path);
        let judgement = self.judge(&[loss]);
        let [holder] = judgement.holders.try_into().unwrap();
        holder
    }
}
