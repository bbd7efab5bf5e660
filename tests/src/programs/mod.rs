//! Real programs, run as sessions under strace: what strace saw and what was
//! recorded are compared act by act, both ways.
//!
//! Not here: which programs (`tests/real_programs.rs`).

pub mod account;
pub mod act;
pub mod line;
mod sockets;
pub mod tree;
pub mod truth;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::recorder::Recorder;
use act::{Act, Deed};
use tree::Tree;
use truth::Truth;

/// A program that takes longer hangs, seconds: the slowest here takes some twenty on an idle machine.
const PATIENCE: &str = "300";
/// Programs of the distribution, not whatever the caller's shell prefers.
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A folder in which programs run; all they change is in it.
#[derive(Debug)]
pub struct Stage {
    folder: TempDir,
    root: PathBuf,
}

/// What came of a run.
#[derive(Debug)]
pub struct Comparison {
    /// Of the program.
    pub output: Output,
    /// All records.
    pub records: Vec<Value>,
    /// What must have been recorded.
    pub truth: Truth,
    /// What strace saw and no record tells, then what a record tells and strace did not see.
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

    /// Runs a shell script here, unrecorded: what a test prepares.
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

/// Both ways: what strace saw and no record tells, then what a record tells and strace did not see.
///
/// # Errors
///
/// Records were lost, or one is of a shape that is not known here.
pub fn differences(truth: &Truth, records: &[Value]) -> anyhow::Result<Vec<String>> {
    let mut acts = Vec::new();
    for record in records {
        ensure!(record.get("loss").is_none(), "records were lost: {record}");
        acts.extend(account::act(record).with_context(|| format!("understand {record}"))?);
    }
    // The two rings are drained one after the other.
    acts.sort_by_key(|(time, _)| *time);
    let acts: Vec<Act> = acts.into_iter().map(|(_, act)| act).collect();
    let mut differences = Vec::new();
    let recorded = without_strace(truth, acts, &mut differences)?;
    let mut counts: BTreeMap<&Act, i64> = BTreeMap::new();
    for act in &recorded {
        *counts.entry(act).or_default() += 1;
    }
    // Those with one candidate first: what they take is no one else's.
    let (certain, others): (Vec<_>, Vec<_>) = truth
        .expected
        .iter()
        .partition(|expected| expected.candidates.len() == 1);
    for expected in certain.into_iter().chain(others) {
        let left = |act: &&Act| counts.get(act).is_some_and(|count| *count > 0);
        let exact = expected.candidates.iter().find(left);
        let found = exact.or_else(|| {
            let mut alike = counts.iter().filter(|(_, count)| **count > 0);
            let is_one = |act: &Act| expected.candidates.iter().any(|one| one.is(act));
            Some(*alike.find(|(act, _)| is_one(act))?.0)
        });
        match found.and_then(|act| counts.get_mut(act)) {
            Some(count) => *count -= 1,
            None => differences.push(format!("not recorded: {:?}", expected.candidates[0])),
        }
    }
    for (act, count) in counts.iter().filter(|(_, count)| **count > 0) {
        differences.push(format!("not seen by strace, {count} ×: {act:?}"));
    }
    Ok(differences)
}

/// What strace's children do to see how the kernel reports it: calls that fail, and their end.
fn is_a_try(deed: &Deed) -> bool {
    match deed {
        Deed::Exit { .. } => true,
        Deed::File(file) => file.error.is_some(),
        _ => false,
    }
}

/// Leaves out what strace itself did: its own process, children by which it
/// finds out what the kernel can, and the child that becomes the program, up
/// to its exec. Whoever else strace does not know of is a difference.
fn without_strace(
    truth: &Truth,
    acts: Vec<Act>,
    differences: &mut Vec<String>,
) -> anyhow::Result<Vec<Act>> {
    let strace = acts
        .iter()
        .find(|act| matches!(act.deed, Deed::Exec { error: None, .. }))
        .context("no exec was recorded")?
        .pid;
    let children: BTreeSet<u32> = acts
        .iter()
        .filter_map(|act| match act.deed {
            Deed::Fork { child, .. } if act.pid == strace => Some(child),
            _ => None,
        })
        .collect();
    ensure!(children.contains(&truth.root), "strace's child is unknown");
    let mut is_program = false;
    let mut kept = Vec::new();
    for act in acts {
        is_program |= act.pid == truth.root && matches!(act.deed, Deed::Exec { .. });
        if truth.pids.contains(&act.pid) {
            if act.pid != truth.root || is_program {
                kept.push(act);
            }
        } else if act.pid != strace && !(children.contains(&act.pid) && is_a_try(&act.deed)) {
            differences.push(format!("of a process that strace did not see: {act:?}"));
        }
    }
    Ok(kept)
}
