//! Where security hooks see the object, a record has the file that was really acted
//! on, whatever happens to the path meanwhile and whatever it leads through.
//!
//! A tracepoint reads the path after the call. There the record has the flag of a
//! caller's path, and no inode but the object's.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::compare::{of_kinds, said, same, sees_objects};
use anyhow::ensure;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;

use crate::STIMULUS;

const ROUNDS: usize = 10_000;

/// The acts that a stimulus reports, and the records about them.
struct Trial {
    done: Vec<Value>,
    records: Vec<Value>,
}

impl Trial {
    fn of(name: &str, directory: &Path, more: &[&str]) -> anyhow::Result<Self> {
        // The guard would end the session at its limit.
        let recorder = Recorder::with_configuration("[guard]\naction = \"off\"\n")?;
        let mut command = vec![STIMULUS.as_ref(), name.as_ref(), directory.as_os_str()];
        command.extend(more.iter().map(std::ffi::OsStr::new));
        let output = recorder.run(command)?;
        ensure!(output.status.success(), "{output:?}");
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            println!("{line}");
        }
        Ok(Self {
            done: said(&output.stdout)?,
            records: recorder.replay()?,
        })
    }

    fn deletes_that_were_done(&self) -> Vec<Value> {
        deletes(self.done.clone())
    }

    fn deletes_that_were_recorded(&self) -> Vec<Value> {
        deletes(of_kinds(&self.records, &["file"]))
    }

    /// Checks that every removal is recorded once, with the removed file.
    fn is_the_truth(&self) -> anyhow::Result<()> {
        let (done, recorded) = (
            self.deletes_that_were_done(),
            self.deletes_that_were_recorded(),
        );
        if sees_objects(&self.records) {
            return same(&done, &recorded);
        }
        ensure!(
            done.len() == recorded.len(),
            "{} removed, {} recorded",
            done.len(),
            recorded.len()
        );
        let mut astray = 0;
        // One thread at a time removes: the records are in the order of the acts.
        for (done, recorded) in done.iter().zip(&recorded) {
            let (done, recorded) = (&done["file"], &recorded["file"]);
            ensure!(
                recorded["pathSource"] == "USER",
                "a path that was read from the caller's memory does not say so: {recorded}"
            );
            let claimed = &recorded["ino"];
            ensure!(
                claimed.is_null() || *claimed == done["ino"],
                "{recorded} was {done}"
            );
            astray += usize::from(recorded["path"] != done["path"]);
        }
        println!(
            "of {} paths that tracepoints read, {astray} were not the object's",
            done.len()
        );
        Ok(())
    }

    /// Checks that each of the files was removed: they were swapped.
    fn was_under_attack(&self, directory: &Path) -> anyhow::Result<()> {
        for name in ["a", "b"] {
            let file = directory.join(name).join("file");
            let path = Value::from(file.display().to_string());
            let mut deletes = self.done.iter();
            ensure!(
                deletes.any(|line| line["file"]["op"] == "DELETE" && line["file"]["path"] == path),
                "{path} was never the one to be removed"
            );
        }
        Ok(())
    }
}

fn deletes(mut lines: Vec<Value>) -> Vec<Value> {
    lines.retain(|line| line["file"]["op"] == "DELETE");
    lines
}

/// Exchanges two names until `done`.
fn exchange_until(done: &AtomicBool, one: &Path, other: &Path) -> anyhow::Result<()> {
    while !done.load(Ordering::Relaxed) {
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?;
    }
    Ok(())
}

#[test]
fn a_path_that_is_swapped_during_the_call_is_the_object_removed() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    let rounds = ROUNDS.to_string();
    let trial = Trial::of("swap", &directory, &[&rounds])?;
    trial.was_under_attack(&directory)?;
    trial.is_the_truth()
}

#[test]
fn a_link_that_is_swapped_during_the_call_leads_to_the_object_removed() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    let (way, other) = (directory.join("way"), directory.join("other"));
    std::os::unix::fs::symlink("a", &way)?;
    std::os::unix::fs::symlink("b", &other)?;
    let rounds = ROUNDS.to_string();
    let done = AtomicBool::new(false);
    let trial = thread::scope(|scope| {
        let swapping = scope.spawn(|| exchange_until(&done, &way, &other));
        let trial = Trial::of("swap", &directory, &[&rounds, "way"]);
        done.store(true, Ordering::Relaxed);
        let swapped = swapping.join();
        ensure!(matches!(swapped, Ok(Ok(()))), "{swapped:?}");
        trial
    })?;
    trial.was_under_attack(&directory)?;
    trial.is_the_truth()
}

#[test]
fn a_file_that_is_reached_by_another_way_is_recorded_where_it_was() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    Trial::of("ways", &directory, &[])?.is_the_truth()
}
