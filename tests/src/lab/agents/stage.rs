//! One run of one agent: a project made for it, the scripted model, and a
//! network namespace that holds nothing else.
//!
//! Everything that the agent can reach by its script is in a temporary folder of this
//! module.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use super::built;
use super::install::Installed;
use crate::lab::child::ended_within;
use crate::lab::model::{Call, Script, log};
use crate::lab::netns;
use crate::oracle::strace;

/// Files in the folder that the script deletes.
pub const DOOMED_FILES: usize = 10_000;

/// A run takes seconds; this bounds one that hangs.
const RUN_LIMIT: Duration = Duration::from_secs(180);

/// Time for processes that the agent left behind to end by themselves.
const GRACE: Duration = Duration::from_secs(10);

/// Interval at which the agent's process is looked up.
const PACE: Duration = Duration::from_millis(200);

/// Longest wait for the end of a killed process.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Most attempts to end processes that the agent left behind, which may fork
/// meanwhile.
const SWEEPS: usize = 20;

/// A project and a script for one run.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    root: PathBuf,
}

/// The result of a run.
#[derive(Debug)]
pub struct Run {
    /// strace's account.
    pub truth: strace::Truth,
    /// The model's orders, and the results.
    pub log: Vec<log::Entry>,
    /// Exit status of strace, which is the agent's; `None` when its time was over.
    pub status: Option<ExitStatus>,
    /// Processes of the agent that outlived it and were ended here.
    pub leftovers: usize,
    /// The last lines of the agent's output.
    pub said: String,
}

impl Stage {
    /// Makes the project.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        // Records hold the path that the kernel knows.
        let root = folder.path().canonicalize()?;
        let stage = Self { folder, root };
        for name in ["home", "tmp", "work", "work/doomed", "neighbour"] {
            fs::create_dir(stage.root.join(name)).with_context(|| format!("make {name}"))?;
        }
        fs::write(stage.notes(), "one\ntwo\nthree\n")?;
        fs::write(
            stage.work().join("Makefile"),
            "all:\n\tsort -r notes.txt > sorted.txt\n",
        )?;
        for number in 0..DOOMED_FILES {
            File::create(stage.doomed().join(number.to_string()))?;
        }
        Ok(stage)
    }

    /// The agent's working directory.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// A file to read.
    pub fn notes(&self) -> PathBuf {
        self.work().join("notes.txt")
    }

    /// A file to write and edit.
    pub fn written(&self) -> PathBuf {
        self.work().join("written.txt")
    }

    /// A file that the project's `make` creates.
    pub fn sorted(&self) -> PathBuf {
        self.work().join("sorted.txt")
    }

    /// The folder that the script deletes.
    pub fn doomed(&self) -> PathBuf {
        self.work().join("doomed")
    }

    /// A folder that no agent touches.
    pub fn neighbour(&self) -> PathBuf {
        self.root.join("neighbour")
    }

    /// How many of the doomed files are gone.
    pub fn gone(&self) -> anyhow::Result<usize> {
        if !self.doomed().exists() {
            return Ok(DOOMED_FILES);
        }
        Ok(DOOMED_FILES - fs::read_dir(self.doomed())?.count())
    }

    /// Keeps the folder for an inspection.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// Reads, writes, edits, runs and deletes.
    pub fn script(&self, remove: &str) -> Script {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let shell = |command: String| Call::Shell { command };
        Script {
            calls: vec![
                Call::Read {
                    path: text(self.notes()),
                },
                Call::Write {
                    path: text(self.written()),
                    content: "alpha\nbeta\n".to_owned(),
                },
                Call::Edit {
                    path: text(self.written()),
                    old: "beta".to_owned(),
                    new: "gamma".to_owned(),
                },
                shell(format!("make -C {} all", text(self.work()))),
                shell(format!("{remove} {}", text(self.doomed()))),
            ],
            farewell: "All done.".to_owned(),
        }
    }

    /// Runs the agent on the script until it ends or its time is over. No process
    /// that it started is left running.
    pub fn run(&self, installed: &Installed, script: &Script) -> anyhow::Result<Run> {
        let log = self.root.join("model.jsonl");
        let account = self.root.join("strace.txt");
        let said = self.root.join("said.txt");
        let model = Model::start(&self.root, script, &log)?;
        let mut command = self.command(installed, &account, &said)?;
        let mut agent = netns::spawn(model.pid, &mut command)?;
        let in_time = wait(&agent, &account)?;
        let leftovers = model.sweep(agent.id())?;
        if !ended_within(&agent, KILL_LIMIT)? {
            agent.kill()?;
        }
        let status = agent.wait()?;
        Ok(Run {
            truth: strace::read(&account)?,
            log: log::read(&log)?,
            status: in_time.then_some(status),
            leftovers,
            said: tail(&said)?,
        })
    }

    /// A command for the agent under strace, with no variable of the caller but
    /// `PATH`.
    fn command(
        &self,
        installed: &Installed,
        account: &Path,
        said: &Path,
    ) -> anyhow::Result<Command> {
        let agent = installed.agent;
        let home = self.root.join("home");
        for (path, content) in agent.files {
            let path = home.join(path);
            fs::create_dir_all(path.parent().context("a file in HOME has a folder")?)?;
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
        }
        let output = File::create(said)?;
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
        let mut command = strace::command(&installed.program, account);
        command
            .args(agent.arguments)
            .env_clear()
            .env("PATH", path)
            .env("HOME", &home)
            .env("TMPDIR", self.root.join("tmp"))
            .env("SHELL", "/bin/bash")
            .env("TERM", "dumb")
            .env("LANG", "C.UTF-8")
            .envs(agent.environment.iter().copied())
            .current_dir(self.work())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(command)
    }
}

/// The scripted model's process, ended when dropped.
struct Model {
    process: Child,
    pid: u32,
}

impl Model {
    fn start(folder: &Path, script: &Script, log: &Path) -> anyhow::Result<Self> {
        let path = folder.join("script.json");
        fs::write(&path, serde_json::to_vec(script)?)?;
        let requests = folder.join("requests");
        fs::create_dir(&requests)?;
        let mut process = Command::new(built("model_server")?)
            .arg("--script")
            .arg(path)
            .arg("--log")
            .arg(log)
            .arg("--keep-requests")
            .arg(requests)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the scripted model")?;
        let output = process.stdout.take().context("the model's stdout")?;
        let pid = process.id();
        let model = Self { process, pid };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        ensure!(
            line.trim() == pid.to_string(),
            "the scripted model did not start"
        );
        Ok(model)
    }

    /// Ends every process in the namespace but the model, and returns their number.
    /// strace, the `supervisor`, then ends by itself.
    fn sweep(&self, supervisor: u32) -> anyhow::Result<usize> {
        let mut ended = 0;
        for sweep in 0..SWEEPS {
            let mut others = netns::members(self.pid)?;
            others.retain(|pid| *pid != self.pid && *pid != supervisor);
            if others.is_empty() {
                return Ok(ended);
            }
            if sweep == 0 {
                ended = others.len();
            }
            others.into_iter().try_for_each(end)?;
        }
        anyhow::bail!("the agent's processes outlive SIGKILL")
    }
}

/// Waits until strace has ended, which is after its last tracee, or until the agent
/// has ended and its remaining processes do not end. False when the agent's time is
/// over.
fn wait(strace: &Child, account: &Path) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut alone = None;
    while !ended_within(strace, PACE)? {
        if started.elapsed() > RUN_LIMIT {
            return Ok(false);
        }
        if !runs(account)? {
            let since = *alone.get_or_insert_with(Instant::now);
            if since.elapsed() > GRACE {
                return Ok(true);
            }
        }
    }
    Ok(true)
}

/// Whether the first process that strace names is still there.
fn runs(account: &Path) -> anyhow::Result<bool> {
    let mut line = String::new();
    match File::open(account) {
        Ok(file) => BufReader::new(file).read_line(&mut line)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error).context("open what strace writes"),
    };
    let pid = line.split(' ').next().unwrap_or_default();
    Ok(pid.is_empty() || Path::new("/proc").join(pid).exists())
}

/// Kills a process and waits until it is gone.
fn end(pid: u32) -> anyhow::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // One that is gone already needs no signal.
    let Some(Ok(handle)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
        return Ok(());
    };
    match pidfd_send_signal(&handle, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(error) => return Err(error).context("kill what the agent left"),
    }
    let limit = Timespec::try_from(KILL_LIMIT)?;
    poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))?;
    Ok(())
}

impl Drop for Model {
    fn drop(&mut self) {
        // It fails only when the model has ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The last lines of a file, for a report.
fn tail(path: &Path) -> anyhow::Result<String> {
    let text = fs::read(path)?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    Ok(lines[lines.len().saturating_sub(5)..].join(" / "))
}
