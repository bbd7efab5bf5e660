//! A container engine of a test's own: dockerd(8), where it is installed, with all its
//! state in one directory, no network, and one image of busybox.
//!
//! Not here: what a session requests of it.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::lab::wait::wait_for;

/// An image with busybox and nothing else.
pub const IMAGE: &str = "agent-recorder-test";
/// Names of busybox in the image.
const APPLETS: [&str; 4] = ["sh", "rm", "sleep", "touch"];

/// The engine. A drop ends it and removes its containers' cgroups.
#[derive(Debug)]
pub struct Engine {
    directory: TempDir,
    /// Name of its cgroup below the root of each hierarchy.
    cgroup: String,
    process: Child,
}

impl Engine {
    /// An engine that has run a container, or why there can be none here.
    ///
    /// # Errors
    ///
    /// Its directory or its image cannot be made, or it is not ready in time.
    pub fn start() -> anyhow::Result<Result<Self, String>> {
        let directory = tempfile::tempdir()?;
        let at = directory.path();
        let name = at.file_name().context("a temporary directory has a name")?;
        let cgroup = format!("agent-recorder-test-engine{}", name.display());
        let log = File::create(at.join("log"))?;
        // In a mount namespace, so that no mount of it is left behind.
        let started = Command::new("unshare")
            .args(["--mount", "dockerd", "--bridge=none", "--iptables=false"])
            .args(["--ip6tables=false", "--storage-driver=vfs"])
            // systemd's driver refuses a cgroup name of the test's choice.
            .args(["--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--cgroup-parent".to_owned(), format!("/{cgroup}")])
            .arg("--data-root")
            .arg(at.join("data"))
            .arg("--exec-root")
            .arg(at.join("exec"))
            .arg("--pidfile")
            .arg(at.join("pid"))
            .arg("--host")
            .arg(address(at))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let process = match started {
            Ok(process) => process,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut engine = Self {
            directory,
            cgroup,
            process,
        };
        if let Err(why) = engine.is_ready()? {
            return Ok(Err(why));
        }
        engine.make_image()?;
        let ran = engine
            .docker(&["run", "--rm", "--network", "none", IMAGE, "sh", "-c", ":"])
            .output()?;
        Ok(if ran.status.success() {
            Ok(engine)
        } else {
            Err(String::from_utf8_lossy(&ran.stderr).into_owned())
        })
    }

    /// The socket on which it takes requests.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// The variable that docker(1) needs in its environment.
    pub fn variable(&self) -> (&'static str, String) {
        ("DOCKER_HOST", address(self.directory.path()))
    }

    /// docker(1), outside every session.
    fn docker(&self, words: &[&str]) -> Command {
        let mut command = Command::new("docker");
        let (name, value) = self.variable();
        command.args(words).env(name, value);
        command
    }

    fn is_ready(&mut self) -> anyhow::Result<Result<(), String>> {
        wait_for("the container engine", || {
            if self.process.try_wait()?.is_some() {
                let log = fs::read_to_string(self.directory.path().join("log"))?;
                let last = log.lines().next_back().unwrap_or_default();
                return Ok(Some(Err(last.to_owned())));
            }
            let asked = self.docker(&["version"]).output();
            match asked {
                Err(error) => Ok(Some(Err(error.to_string()))),
                Ok(said) => Ok(said.status.success().then_some(Ok(()))),
            }
        })
    }

    fn make_image(&self) -> anyhow::Result<()> {
        let root = self.directory.path().join("root");
        let programs = root.join("bin");
        fs::create_dir_all(&programs)?;
        let found = Command::new("sh")
            .args(["-c", "command -v busybox"])
            .output()?;
        let busybox = String::from_utf8(found.stdout)?;
        fs::copy(busybox.trim(), programs.join("busybox")).context("copy busybox")?;
        for applet in APPLETS {
            symlink("busybox", programs.join(applet))?;
        }
        let mut packed = Command::new("tar")
            .arg("-C")
            .arg(&root)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()?;
        let archive = packed.stdout.take().context("tar has no output")?;
        let imported = self
            .docker(&["import", "-", IMAGE])
            .stdin(archive)
            .output()?;
        ensure!(imported.status.success(), "{imported:?}");
        ensure!(packed.wait()?.success(), "tar failed");
        Ok(())
    }

    /// Waits until no container is left.
    fn empty(&self) -> anyhow::Result<()> {
        wait_for("the end of all containers", || {
            let listed = self.docker(&["ps", "-aq"]).output()?;
            Ok(listed.stdout.is_empty().then_some(()))
        })
    }
}

fn address(directory: &Path) -> String {
    format!("unix://{}/docker.sock", directory.display())
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Errors are dropped: what is left behind fails the comparison of leftovers.
        let _ = self.empty();
        let runs = matches!(self.process.try_wait(), Ok(None));
        if runs
            && let Some(pid) = i32::try_from(self.process.id())
                .ok()
                .and_then(Pid::from_raw)
        {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.process.wait();
        let roots = fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten();
        let roots = roots
            .map(|root| root.path())
            .chain(["/sys/fs/cgroup".into()]);
        for root in roots {
            let _ = fs::remove_dir(root.join(&self.cgroup));
        }
    }
}
