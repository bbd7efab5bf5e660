//! Real programs, run as sessions under strace: what strace saw and what was
//! recorded are compared act by act, both ways.
//!
//! Not here: which programs (`tests/e2e/records/real_programs.rs`).

pub mod account;
pub mod act;
mod difference;
pub mod line;
mod sockets;
pub mod tree;
pub mod truth;

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::lab::recorder::Recorder;
pub use difference::differences;
use tree::Tree;
use truth::Truth;

/// Limit of a program's run, seconds: the slowest here takes some twenty on an idle machine.
const PATIENCE: &str = "300";
/// Programs of the distribution, not whatever the caller's shell prefers.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A folder in which programs run; all they change is in it.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    root: PathBuf,
}

/// The result of a run.
#[derive(Debug)]
pub struct Comparison {
    /// The program's output.
    pub output: Output,
    /// All records.
    pub records: Vec<Value>,
    /// The acts that must be recorded.
    pub truth: Truth,
    /// Acts that only strace saw, then acts that only the records have.
    pub differences: Vec<String>,
}

impl Stage {
    /// An empty one, with a home and a place for temporary files.
    ///
    /// # Errors
    ///
    /// The disk is full.
    pub fn new() -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let root = fs::canonicalize(folder.path())?;
        fs::create_dir(root.join("home"))?;
        fs::create_dir(root.join("tmp"))?;
        Ok(Self { folder, root })
    }

    /// Its path, without links.
    pub fn path(&self) -> &Path {
        debug_assert!(self.folder.path().exists());
        &self.root
    }

    /// A command in this folder, with an environment that is the same everywhere.
    fn dress(&self, command: &mut Command) {
        command
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", SEARCH)
            .env("HOME", self.root.join("home"))
            .env("TMPDIR", self.root.join("tmp"))
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
    }

    /// Runs a shell script here, unrecorded, to prepare a test.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn prepare(&self, script: &str) -> anyhow::Result<()> {
        let mut command = Command::new("sh");
        command.args(["-euc", script]);
        self.dress(&mut command);
        let output = command.output()?;
        ensure!(output.status.success(), "{script}: {output:?}");
        Ok(())
    }

    /// Runs a command here as a session under strace, and compares.
    ///
    /// # Errors
    ///
    /// It cannot be run, or strace's account is not understood.
    pub fn compare(&self, program: &[&str]) -> anyhow::Result<Comparison> {
        // Programs delete more than an agent may: a lock file for each reference, and more.
        let recorder = Recorder::with_configuration("[guard]\naction = \"off\"\n")?;
        let accounts = TempDir::new()?;
        let account = accounts.path().join("strace");
        let before = Tree::of(&self.root)?;
        let recorded = recorder.command("run")?;
        let mut command = Command::new("timeout");
        command
            .arg(PATIENCE)
            .arg(recorded.get_program())
            .args(recorded.get_args())
            .args(["--", "strace"])
            .args(line::OPTIONS)
            .arg("-e")
            .arg(format!("trace={}", truth::CALLS.join(",")))
            .arg("-o")
            .arg(&account)
            .arg("--")
            .args(program);
        self.dress(&mut command);
        let output = command.output()?;
        let text = fs::read_to_string(&account)
            .with_context(|| format!("strace's account of {program:?}: {output:?}"))?;
        let events = line::parse(&text)?;
        let truth = Truth::new(&events, before, self.root.as_os_str().as_bytes())?;
        let records = recorder.replay()?;
        let differences = differences(&truth, &records)?;
        Ok(Comparison {
            output,
            records,
            truth,
            differences,
        })
    }
}
