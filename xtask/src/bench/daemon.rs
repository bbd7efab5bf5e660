//! A recorder for the length of one block. Between two blocks no recorder runs, and
//! no program is attached.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::workload::session_words;
use crate::workspace;

/// Longest start: the kernel takes about a second to verify and load the programs.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// The guard is off, because the workloads delete in bulk.
const CONFIGURATION: &str = "[guard]\naction = \"off\"\n";

/// A running `agent-recorder daemon`, which ends when this value is dropped.
pub(super) struct Daemon {
    recorder: PathBuf,
    child: Option<Child>,
    /// Configuration, state and log, on the workspace's disk, as a spool would be.
    folder: TempDir,
}

impl Daemon {
    /// Starts a daemon and waits until it answers.
    ///
    /// # Errors
    ///
    /// The daemon does not start or does not answer: the error contains its output.
    pub(super) fn start(recorder: &Path) -> Result<Self> {
        let parent = workspace::target("");
        let folder = tempfile::Builder::new()
            .prefix("bench-state-")
            .tempdir_in(&parent)
            .with_context(|| format!("make a folder in {}", parent.display()))?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("config.toml"), CONFIGURATION)
            .context("write the recorder's configuration")?;
        let log = File::create(path("log")).context("create the recorder's log")?;
        let mut daemon = Self {
            recorder: recorder.to_owned(),
            child: None,
            folder,
        };
        let mut command = daemon.command();
        command
            .arg("daemon")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        daemon.child = Some(
            command
                .spawn()
                .with_context(|| format!("start {}", recorder.display()))?,
        );
        daemon.wait_until_it_answers()?;
        Ok(daemon)
    }

    /// Its pid.
    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The beginning of a command line that records the rest of it.
    pub(super) fn session_words(&self) -> Vec<String> {
        session_words(&self.recorder, &self.options())
    }

    /// Ends the daemon as systemd would, and waits until it and its programs are
    /// gone.
    ///
    /// # Errors
    ///
    /// The daemon does not end, or ends with an error, which contains its output.
    pub(super) fn stop(mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        signal(&child, Signal::TERM)?;
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait().context("wait for the recorder")? {
                if !status.success() {
                    bail!("the recorder ended with {status}: {}", self.log());
                }
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                self.child = Some(child);
                bail!("the recorder did not end within {PATIENCE:?} of SIGTERM");
            }
            std::thread::sleep(POLL);
        }
    }

    fn options(&self) -> [String; 4] {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        [
            "--config".into(),
            path("config.toml"),
            "--state-dir".into(),
            path("state"),
        ]
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.recorder);
        command.args(self.options());
        command
    }

    fn wait_until_it_answers(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let ended = self
                .child
                .as_mut()
                .map(Child::try_wait)
                .transpose()
                .context("wait for the recorder")?;
            if let Some(Some(status)) = ended {
                bail!("the recorder ended with {status}: {}", self.log());
            }
            let answer = self
                .command()
                .arg("sessions")
                .stdin(Stdio::null())
                .output()
                .context("ask the recorder")?;
            if answer.status.success() {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let answer = String::from_utf8_lossy(&answer.stderr).into_owned();
                bail!(
                    "the recorder does not answer after {PATIENCE:?}: {answer}; it said: {}",
                    self.log()
                );
            }
            std::thread::sleep(POLL);
        }
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log"))
            .unwrap_or_else(|error| error.to_string());
        log.trim().to_owned()
    }
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("read the recorder's pid")?;
    kill_process(pid, signal).context("signal the recorder")
}

impl Drop for Daemon {
    /// Ends the daemon after an error, so that nothing stays behind.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // A failure cannot be handled here, and another error is returned
            // already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
