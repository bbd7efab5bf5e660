//! Ground truth on each file system that this kernel has: every operation
//! once, and of what was removed the inode too.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use agent_recorder_tests::lab::file_systems::{all, in_own_namespace};
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::compare::{files_under, said, same, sees_objects};
use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{STIMULUS, stimulus};

/// What a stimulus did, and what was recorded in its folder.
struct Run {
    done: Vec<Value>,
    recorded: Vec<Value>,
    sees_objects: bool,
}

/// Runs a stimulus in a new folder.
fn of_stimulus(words: &[&str], directory: &Path) -> anyhow::Result<Run> {
    fs::create_dir(directory)?;
    let directory = fs::canonicalize(directory)?;
    let recorder = Recorder::with_configuration("[guard]\naction = \"off\"\n")?;
    let mut command = vec![words[0].as_ref(), directory.as_os_str()];
    command.extend(words[1..].iter().map(std::ffi::OsStr::new));
    let output = recorder.run(command)?;
    ensure!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    Ok(Run {
        done: said(&output.stdout)?,
        recorded: files_under(&records, &directory.display().to_string()),
        sees_objects: sees_objects(&records),
    })
}

fn removals(mut lines: Vec<Value>) -> Vec<Value> {
    lines.retain(|line| line["file"]["op"] == "DELETE");
    lines
}

/// Past what captures the output of tests: it belongs to the run's.
fn tell(covered: &[&str], absent: &[String]) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "\nfile systems covered: {}", covered.join(", "))?;
    for why in absent {
        writeln!(out, "file system not covered: {why}")?;
    }
    Ok(())
}

#[test]
fn every_file_operation_is_recorded_once_on_every_file_system() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let scratch = tempfile::tempdir()?;
        let (mounted, absent) = all(scratch.path())?;
        for place in &mounted {
            let files = stimulus("files");
            let run = of_stimulus(&files, &place.directory.join("files"))?;
            same(&run.done, &run.recorded).with_context(|| format!("on {}", place.kind))?;
        }
        let covered: Vec<_> = mounted.iter().map(|place| place.kind).collect();
        tell(&covered, &absent)
    })
}

#[test]
fn what_is_removed_is_known_by_its_inode_on_every_file_system() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let scratch = tempfile::tempdir()?;
        let (mounted, _) = all(scratch.path())?;
        for place in &mounted {
            let ways = [STIMULUS, "ways"];
            let run = of_stimulus(&ways, &place.directory.join("ways"))?;
            let recorded = removals(run.recorded);
            if run.sees_objects {
                same(&run.done, &recorded).with_context(|| format!("on {}", place.kind))?;
                continue;
            }
            // Tracepoints know no inode of what is gone, and claim none.
            ensure!(recorded.len() == run.done.len(), "on {}", place.kind);
            for record in &recorded {
                let file = &record["file"];
                ensure!(
                    file["ino"].is_null() && file["pathSource"] == "USER",
                    "{record}"
                );
            }
        }
        Ok(())
    })
}
