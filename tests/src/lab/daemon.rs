//! The daemon under test, and its records in the form of `replay --format json`.
//!
//! It uses the command line and the JSON form (docs/reference). Of the library it
//! uses only the reader of a store, for the ids of sessions.

use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_recorder::config::DEFAULT_PINS;
use agent_recorder::record::SessionId;
use agent_recorder::record::proto::{self, record::Body};
use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::child::ended_within;
use crate::lab::host::{self, Stay};
use crate::lab::recorder::{PROFILE_VARIABLE, binary, stored};
use crate::lab::wait::wait_for;
use crate::oracle::compare::{self, lost_by_skipping};
use crate::oracle::tally;

/// Longest start: an emulated guest on a busy machine takes more than a minute.
const START_LIMIT: Duration = Duration::from_secs(240);
const END_LIMIT: Duration = Duration::from_secs(60);
/// Interval at which the daemon, or a session's end, is looked up.
const PACE: Duration = Duration::from_millis(200);

/// A daemon with a state directory of its own.
#[derive(Debug)]
pub struct Daemon {
    process: Child,
    state: TempDir,
    notify: UnixDatagram,
    stay: Option<Stay>,
}

impl Daemon {
    /// Starts a daemon and waits until it says that it is ready (sd_notify(3)).
    ///
    /// # Errors
    ///
    /// It ends, or is not ready in time. The error has its log.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("")
    }

    /// As [`Daemon::start`], with a configuration.
    ///
    /// # Errors
    ///
    /// See [`Daemon::start`].
    pub fn start_with(configuration: &str) -> anyhow::Result<Self> {
        Self::start_in(tempfile::tempdir()?, configuration)
    }

    /// As [`Daemon::start_with`], in an existing directory.
    ///
    /// # Errors
    ///
    /// See [`Daemon::start`].
    pub fn start_in(state: TempDir, configuration: &str) -> anyhow::Result<Self> {
        Self::start_all(state, configuration, &[])
    }

    /// As [`Daemon::start_with`], with a `PATH` of its own.
    ///
    /// # Errors
    ///
    /// See [`Daemon::start`].
    pub fn start_on_path(configuration: &str, path: &OsStr) -> anyhow::Result<Self> {
        Self::start_all(tempfile::tempdir()?, configuration, &[("PATH", path)])
    }

    /// As [`Daemon::start_with`], as a service whose manager ends it after `within`
    /// without a report.
    ///
    /// # Errors
    ///
    /// See [`Daemon::start`].
    pub fn start_watched(configuration: &str, within: Duration) -> anyhow::Result<Self> {
        let within = within.as_micros().to_string();
        let variables = [("WATCHDOG_USEC", OsStr::new(&within))];
        Self::start_all(tempfile::tempdir()?, configuration, &variables)
    }

    /// As [`Daemon::start`], in a cgroup.
    ///
    /// # Errors
    ///
    /// See [`Daemon::start`].
    pub fn start_within(cgroup: &Path) -> anyhow::Result<Self> {
        let state = tempfile::tempdir()?;
        let daemon = command(state.path(), "daemon")?;
        let enter = r#"echo $$ > "$1/cgroup.procs" && shift && exec "$@""#;
        let mut within = Command::new("sh");
        within
            .args(["-c", enter, "sh"])
            .arg(cgroup)
            .arg(daemon.get_program())
            .args(daemon.get_args());
        Self::start_by(within, state, "", &[])
    }

    fn start_all(
        state: TempDir,
        configuration: &str,
        variables: &[(&str, &OsStr)],
    ) -> anyhow::Result<Self> {
        let command = command(state.path(), "daemon")?;
        Self::start_by(command, state, configuration, variables)
    }

    fn start_by(
        mut command: Command,
        state: TempDir,
        configuration: &str,
        variables: &[(&str, &OsStr)],
    ) -> anyhow::Result<Self> {
        let stay = Some(host::together());
        std::fs::write(state.path().join("config.toml"), configuration)?;
        let socket = state.path().join("notify");
        // The socket of an earlier daemon may be there.
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let notify = UnixDatagram::bind(&socket).context("listen for READY=1")?;
        notify.set_read_timeout(Some(PACE))?;
        let output = File::create(state.path().join("daemon.log"))?;
        let process = command
            .env("NOTIFY_SOCKET", &socket)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("start the daemon")?;
        let daemon = Self {
            process,
            state,
            notify,
            stay,
        };
        let deadline = Instant::now() + START_LIMIT;
        while Instant::now() < deadline && !ended_within(&daemon.process, Duration::ZERO)? {
            if daemon.said("READY=1")? {
                return Ok(daemon);
            }
        }
        bail!("the daemon is not ready: {}", daemon.log());
    }

    /// The daemon's state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// A command of the binary that finds this daemon.
    ///
    /// # Errors
    ///
    /// The binary was not built.
    pub fn command(&self, name: &str) -> anyhow::Result<Command> {
        command(self.state.path(), name)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends SIGTERM and waits for the end. The state directory stays as long as the
    /// returned value.
    ///
    /// # Errors
    ///
    /// It does not end, or fails.
    pub fn stop(mut self) -> anyhow::Result<TempDir> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        if !ended_within(&self.process, END_LIMIT)? {
            bail!("the daemon outlives SIGTERM: {}", self.log());
        }
        let status = self.process.wait()?;
        ensure!(
            status.success(),
            "the daemon failed, {status}: {}",
            self.log()
        );
        Ok(std::mem::replace(&mut self.state, tempfile::tempdir()?))
    }

    /// Kills the daemon and waits for the end. The state directory stays as long as
    /// the returned value.
    ///
    /// # Errors
    ///
    /// It has ended already.
    pub fn kill(mut self) -> anyhow::Result<TempDir> {
        kill_process(Pid::from_child(&self.process), Signal::KILL)?;
        self.process.wait()?;
        Ok(std::mem::replace(&mut self.state, tempfile::tempdir()?))
    }

    /// Leaves the daemon running: the finder of its state directory ends it.
    pub(crate) fn leave(mut self) -> PathBuf {
        drop(self.stay.take());
        let mut left = std::mem::ManuallyDrop::new(self);
        // The caller needs the directory's name only.
        left.state.disable_cleanup(true);
        left.state.path().to_owned()
    }

    /// The records of every session so far, one session after the other.
    ///
    /// # Errors
    ///
    /// The spool is damaged, or `replay` fails.
    pub fn records(&self) -> anyhow::Result<Vec<Record>> {
        let mut records = Vec::new();
        for session in self.sessions()? {
            records.extend(self.replay(session)?);
        }
        Ok(records)
    }

    /// All records so far, including those of no session.
    ///
    /// # Errors
    ///
    /// The spool is damaged.
    pub fn stored(&self) -> anyhow::Result<Vec<proto::Record>> {
        stored(self.state.path())
    }

    /// The records of the session that began last, once it has ended.
    ///
    /// # Errors
    ///
    /// It does not end, or `replay` fails.
    pub fn last_session(&self) -> anyhow::Result<Vec<Value>> {
        self.ended_session("last")
    }

    /// The records of this session, once it has ended.
    ///
    /// # Errors
    ///
    /// It does not end, or `replay` fails.
    pub fn ended_session(&self, session: &str) -> anyhow::Result<Vec<Value>> {
        let records = wait_for("the session's end", || {
            let mut replay = self.command("replay")?;
            let output = replay.args(["--format", "json", session]).output()?;
            let records = compare::said(&output.stdout)?;
            let is_over = records.iter().any(|it| it.get("sessionEnd").is_some());
            Ok(is_over.then_some(records))
        })?;
        tally::session(&records)?;
        Ok(records)
    }

    /// The name by which commands take a program that waits at the gate for an answer.
    ///
    /// # Errors
    ///
    /// The output of `sessions` is not JSON.
    pub fn holding(&self) -> anyhow::Result<Option<String>> {
        let mut sessions = self.command("sessions")?;
        let listed = sessions.args(["--format", "json"]).output()?;
        let lines = compare::said(&listed.stdout)?;
        let mut holds = lines.iter().filter_map(|line| line["hold"].as_str());
        Ok(holds.next().map(str::to_owned))
    }

    /// As [`Daemon::holding`]; waits for such a program.
    ///
    /// # Errors
    ///
    /// Those of [`Daemon::holding`], or no program comes.
    pub fn held(&self) -> anyhow::Result<String> {
        wait_for("a program to be held", || self.holding())
    }

    /// The sessions so far, in the order of their starts.
    ///
    /// # Errors
    ///
    /// The spool is damaged.
    pub fn sessions(&self) -> anyhow::Result<Vec<SessionId>> {
        let mut sessions = Vec::new();
        for record in stored(self.state.path())? {
            if let Some(Body::SessionStart(_)) = record.body {
                let id = SessionId::from_bytes(&record.session_id);
                sessions.push(id.context("a session's start names no session")?);
            }
        }
        Ok(sessions)
    }

    fn replay(&self, session: SessionId) -> anyhow::Result<Vec<Record>> {
        let output = command(self.state.path(), "replay")?
            .args(["--format", "json", &session.to_string()])
            .stdin(Stdio::null())
            .output()
            .context("run replay")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8(output.stdout).context("replay's output is UTF-8")?;
        // Status 3 for lost records is a failure as well, because so few events must
        // not overrun a ring. On Linux 7, however, the kernel can skip programs.
        let is_skipped = || lost_by_skipping(&compare::said(text.as_bytes())?);
        ensure!(
            output.status.success() || output.status.code() == Some(3) && is_skipped()?,
            "replay ended with {}: {said}",
            output.status
        );
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("a record: {line}")))
            .collect()
    }

    /// Waits until each session has ended, stops the daemon, and returns all its records.
    ///
    /// # Errors
    ///
    /// The daemon ends by itself, does not end, or fails.
    pub fn finish(self) -> anyhow::Result<Vec<Record>> {
        let deadline = Instant::now() + END_LIMIT;
        while !all_ended(&self.records()?) && Instant::now() < deadline {
            ensure!(
                !ended_within(&self.process, PACE)?,
                "the daemon ended by itself: {}",
                self.log()
            );
        }
        let records = self.records()?;
        self.stop()?;
        Ok(records)
    }

    /// Whether the next message to the service manager, if one comes soon, is `state`.
    ///
    /// # Errors
    ///
    /// The socket fails.
    pub fn said(&self, state: &str) -> anyhow::Result<bool> {
        let mut message = [0; 4096];
        match self.notify.recv(&mut message) {
            Ok(length) => {
                let text = String::from_utf8_lossy(&message[..length]);
                Ok(text.lines().any(|line| line == state))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error).context("listen to the daemon"),
        }
    }

    /// The daemon's standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.state.path().join("daemon.log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It fails only when the daemon has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // A bpffs at the default place has a directory of the daemon.
        if let Ok(state) = self.state.path().metadata() {
            let pins = format!("{DEFAULT_PINS}/{:x}-{:x}", state.dev(), state.ino());
            let _ = std::fs::remove_dir_all(pins);
        }
    }
}

fn command(state: &Path, name: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(binary()?);
    command.args([
        OsStr::new(name),
        OsStr::new("--config"),
        state.join("config.toml").as_os_str(),
        OsStr::new("--state-dir"),
        state.as_os_str(),
    ]);
    if let Some(profile) = std::env::var_os(PROFILE_VARIABLE) {
        command.arg("--profile").arg(profile);
    }
    Ok(command)
}

fn all_ended(records: &[Record]) -> bool {
    let begun = records
        .iter()
        .filter(|record| record.session_start.is_some())
        .count();
    let ended = records
        .iter()
        .filter(|record| record.session_end.is_some())
        .count();
    begun > 0 && begun == ended
}

/// One line of `replay --format json`, with the fields that these tests read.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct Record {
    pub session_id: Option<String>,
    pub time: String,
    pub process: Option<Process>,
    pub session_start: Option<SessionStart>,
    pub session_end: Option<SessionEnd>,
    pub exec: Option<Exec>,
    pub fork: Option<Fork>,
    pub file: Option<FileRecord>,
    pub enforcement: Option<Enforcement>,
    pub hand_off: Option<HandOff>,
    pub heir: Option<Heir>,
    pub tamper: Option<Tamper>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct Tamper {
    pub act: String,
    pub path: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct HandOff {
    pub way: String,
    pub to: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct Heir {
    pub file: String,
    pub script: bool,
    pub joined: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct Process {
    pub pid: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct SessionStart {
    pub agent: String,
    pub rule: String,
    pub origin: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct SessionEnd {
    pub reason: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct Exec {
    pub argv: Vec<String>,
    #[serde(default)]
    pub argv_truncated: bool,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct Fork {
    pub child_pid: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct FileRecord {
    pub op: String,
    #[serde(default)]
    pub path: String,
    pub new_path: Option<String>,
    pub error: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/reference names the fields")]
pub struct Enforcement {
    pub action: String,
    pub count: u64,
    pub limit: u64,
    #[serde(default)]
    pub killed: Vec<u32>,
    #[serde(default)]
    pub survivors: u32,
    pub gate: Option<serde_json::Value>,
}
