//! Cgroups for one test, which are removed with it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::lab::wait::until;

/// A cgroup that exists as long as this value.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// `None` where the hierarchy is not mounted.
    fn new(is_it: impl Fn(&str) -> bool) -> anyhow::Result<Option<Self>> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mounted = mounts.lines().find_map(|line| {
            let (about, kind) = line.split_once(" - ")?;
            is_it(kind).then(|| about.split(' ').nth(4))?
        });
        let Some(root) = mounted else {
            return Ok(None);
        };
        let name = format!("agent-recorder-test-{}-", std::process::id());
        let unique = TempDir::with_prefix_in(name, root)?;
        Ok(Some(Self(unique.keep())))
    }

    /// A cgroup of version 2, with the files that kill or freeze it; `None` where
    /// version 2 is not mounted.
    ///
    /// # Errors
    ///
    /// None can be made there.
    pub fn unified() -> anyhow::Result<Option<Self>> {
        let found = Self::new(|kind| kind.starts_with("cgroup2 "))?;
        Ok(found.filter(|cgroup| cgroup.0.join("cgroup.kill").exists()))
    }

    /// A cgroup of version 1, which freezes processes; `None` where its freezer is
    /// not mounted.
    ///
    /// # Errors
    ///
    /// None can be made there.
    pub fn freezer() -> anyhow::Result<Option<Self>> {
        Self::new(|kind| {
            kind.starts_with("cgroup ") && kind.split([',', ' ']).any(|it| it == "freezer")
        })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The contents of one of its files; empty where it cannot be read.
    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Killed processes may not have left the cgroup yet, nor those below it.
        let _ = until("the cgroup is empty", || {
            let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
            for below in entries.filter(|it| it.path().is_dir()) {
                let _ = fs::remove_dir(below.path());
            }
            !self.0.exists() || fs::remove_dir(&self.0).is_ok()
        });
    }
}
