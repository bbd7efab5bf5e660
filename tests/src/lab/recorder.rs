//! The binary under test.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use agent_recorder::record::proto::Record;
use agent_recorder::record::proto::record::Body;
use agent_recorder::spool::{Item, Store};
use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::host::{self, Stay};
use crate::lab::shared;
use crate::oracle::compare::said;
use crate::oracle::tally;

/// Names the binary; without it, the newest one of the workspace's target folder is taken.
const VARIABLE: &str = "AGENT_RECORDER_BIN";

/// Names the hooks to record with; without it the recorder chooses.
pub(crate) const PROFILE_VARIABLE: &str = "AGENT_RECORDER_PROFILE";

/// The binary under test.
///
/// # Errors
///
/// It was not built.
pub fn binary() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Ok(named.into());
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    ["release", "debug"]
        .iter()
        .map(|profile| target.join(profile).join("agent-recorder"))
        .filter(|path| path.exists())
        .max_by_key(|path| path.metadata().and_then(|about| about.modified()).ok())
        .context("agent-recorder is not built: run `cargo xtask build`")
}

/// The single line of a failing command, after its exit status was checked.
///
/// # Errors
///
/// Its status differs, or it printed more.
pub fn complaint(output: &Output, status: i32) -> anyhow::Result<String> {
    let said = String::from_utf8(output.stderr.clone())?;
    anyhow::ensure!(
        output.status.code() == Some(status),
        "not {status}: {output:?}"
    );
    anyhow::ensure!(output.stdout.is_empty(), "on standard output: {output:?}");
    anyhow::ensure!(said.lines().count() == 1, "not one line: {said}");
    anyhow::ensure!(said.starts_with("agent-recorder: "), "{said}");
    Ok(said)
}

/// The report of `doctor` about this machine in the tested profile. It is run once,
/// because it loads the programs of every profile, which takes an emulated guest a
/// minute.
///
/// # Errors
///
/// The binary cannot be started, or its output is not JSON.
pub fn doctor() -> anyhow::Result<&'static Value> {
    static SAID: OnceLock<Value> = OnceLock::new();
    if let Some(said) = SAID.get() {
        return Ok(said);
    }
    let output = Recorder::alone("")?
        .command("doctor")?
        .args(["--format", "json"])
        .output()?;
    let said = serde_json::from_slice(&output.stdout).context("read what doctor says")?;
    Ok(SAID.get_or_init(|| said))
}

/// Whether the tested profile's hooks can refuse.
///
/// # Errors
///
/// See [`doctor`].
pub fn refuses() -> anyhow::Result<bool> {
    doctor()?["refuses"]
        .as_bool()
        .context("doctor does not say")
}

/// All records in a state directory, those of the streams themselves included.
///
/// # Errors
///
/// The spool cannot be read, or is damaged.
pub fn stored(state: &Path) -> anyhow::Result<Vec<Record>> {
    let store = Store::open(&state.join("spool"))?;
    let mut records = Vec::new();
    for stream in store.streams()? {
        let mut cursor = store.cursor(stream)?;
        while let Some(item) = cursor.next()? {
            let Item::Record { record, .. } = item else {
                bail!("the spool is damaged: {item:?}");
            };
            records.push(*record);
        }
    }
    Ok(records)
}

/// A configuration that guards temporary directories, too, because tests have their
/// files there.
pub const GUARDING_TEMPORARY: &str = r#"[guard]
keep = ["/tmp", "/var/tmp", "/dev/shm", "/var/cache", ".tmp", "target", ".cache"]
"#;

/// A recorder with a state directory of its own, or with that of a daemon
/// that several tests share (`shared`).
#[derive(Debug)]
pub struct Recorder {
    state: State,
    arguments: Vec<String>,
    _stay: Stay,
}

#[derive(Debug)]
enum State {
    Own(TempDir),
    Shared(PathBuf),
}

impl State {
    fn of(configuration: &str) -> anyhow::Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "this test loads kernel programs: run it as root, by `cargo xtask test`"
        );
        Ok(match shared::with(configuration)? {
            Some(state) => Self::Shared(state),
            None => Self::Own(TempDir::new()?),
        })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Shared(directory) => directory,
        }
    }
}

impl Recorder {
    /// A recorder with the built-in configuration.
    ///
    /// # Errors
    ///
    /// The caller is not root, so that the kernel loads no programs.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            state: State::of("")?,
            arguments: Vec::new(),
            _stay: host::together(),
        })
    }

    /// A recorder whose guard counts files in temporary directories, too.
    ///
    /// # Errors
    ///
    /// See [`Recorder::with_configuration`].
    pub fn with_guard(toml: &str) -> anyhow::Result<Self> {
        Self::with_configuration(&format!("{GUARDING_TEMPORARY}{toml}"))
    }

    /// A recorder with a configuration.
    ///
    /// # Errors
    ///
    /// Those of [`Recorder::new`], or the configuration cannot be written.
    pub fn with_configuration(toml: &str) -> anyhow::Result<Self> {
        let state = State::of(toml)?;
        let file = state.path().join("config.toml");
        std::fs::write(&file, toml)?;
        Ok(Self {
            state,
            arguments: vec!["--config".to_owned(), file.display().to_string()],
            _stay: host::together(),
        })
    }

    /// As [`Recorder::with_configuration`], with a state directory of its own: `run`
    /// finds no shared daemon.
    ///
    /// # Errors
    ///
    /// See [`Recorder::with_configuration`].
    pub fn alone(toml: &str) -> anyhow::Result<Self> {
        let directory = TempDir::new()?;
        let file = directory.path().join("config.toml");
        std::fs::write(&file, toml)?;
        Ok(Self {
            state: State::Own(directory),
            arguments: vec!["--config".to_owned(), file.display().to_string()],
            _stay: host::together(),
        })
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// The binary with the options that every command here takes.
    ///
    /// # Errors
    ///
    /// It was not built.
    pub fn command(&self, command: &str) -> anyhow::Result<Command> {
        let mut process = Command::new(binary()?);
        process
            .arg(command)
            .args(&self.arguments)
            .arg("--state-dir")
            .arg(self.state.path());
        if let Some(profile) = std::env::var_os(PROFILE_VARIABLE) {
            process.arg("--profile").arg(profile);
        }
        Ok(process)
    }

    /// Records a command as a session.
    ///
    /// # Errors
    ///
    /// The binary cannot be started.
    pub fn run<I, S>(&self, command: I) -> anyhow::Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        Ok(self.command("run")?.arg("--").args(command).output()?)
    }

    /// Records a stimulus that is started `rounds` times as one session, each time in a
    /// directory of its own in `below`: a loss among few operations is no measure.
    ///
    /// # Errors
    ///
    /// The binary cannot be started, or a directory cannot be made.
    pub fn run_rounds(
        &self,
        rounds: usize,
        stimulus: [&str; 2],
        below: &Path,
        mode: &str,
    ) -> anyhow::Result<Output> {
        let script = r#"program=$1 name=$2 mode=$3; shift 3; for at; do "$program" "$name" "$at" $mode || exit; done"#;
        let [program, name] = stimulus;
        let mut command: Vec<OsString> = ["sh", "-c", script, "sh", program, name, mode]
            .map(OsString::from)
            .to_vec();
        for round in 0..rounds {
            let at = below.join(format!("round{round}"));
            std::fs::create_dir(&at)?;
            command.push(at.into());
        }
        self.run(command)
    }

    /// Hooks that this kernel lacks, as the recorder recorded them when it started.
    ///
    /// # Errors
    ///
    /// The spool cannot be read.
    pub fn absent_hooks(&self) -> anyhow::Result<Vec<String>> {
        let details = self.told_of_itself("hook_absent")?;
        let name = |detail: &String| detail.split(':').next().map(str::to_owned);
        Ok(details.iter().filter_map(name).collect())
    }

    /// The io_uring tracepoint that this kernel lacks: without it requests are not
    /// traced. Records an idle command, since a recorder reports absent hooks when it
    /// starts.
    ///
    /// # Errors
    ///
    /// The command cannot be run, or the spool cannot be read.
    pub fn unseen_requests(&self) -> anyhow::Result<Option<String>> {
        self.run(["true"])?;
        let mut absent = self.absent_hooks()?.into_iter();
        Ok(absent.find(|hook| hook.starts_with("io_uring_")))
    }

    /// The details of all records of one event of the recorder's own.
    ///
    /// # Errors
    ///
    /// The spool cannot be read.
    pub fn told_of_itself(&self, event: &str) -> anyhow::Result<Vec<String>> {
        let detail = |record: Record| match record.body {
            Some(Body::StreamEvent(it)) if it.event == event => Some(it.detail),
            _ => None,
        };
        let stored = stored(self.state.path())?;
        Ok(stored.into_iter().filter_map(detail).collect())
    }

    /// The last session's records.
    ///
    /// # Errors
    ///
    /// `replay` fails, or its output is not JSON.
    pub fn replay(&self) -> anyhow::Result<Vec<Value>> {
        let output = self
            .command("replay")?
            .args(["--format", "json"])
            .output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(
            matches!(output.status.code(), Some(0 | 3)),
            "replay: {:?}: {complaint}",
            output.status
        );
        let records = said(&output.stdout)?;
        tally::session(&records)?;
        Ok(records)
    }
}
