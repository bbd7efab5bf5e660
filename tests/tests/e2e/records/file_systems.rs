//! Ground truth on each file system of this kernel: every operation is recorded once,
//! with the inode of a removed file.

use std::fs;
use std::path::Path;

use agent_recorder_tests::lab::file_systems::{all, in_own_namespace};
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::compare::{files_under, said, same, sees_objects};
use agent_recorder_tests::skip_part;
use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::STIMULUS;

/// The acts of a stimulus, and the records about its folder.
struct Run {
    done: Vec<Value>,
    recorded: Vec<Value>,
    sees_objects: bool,
}

/// Runs a stimulus in a new folder.
fn of_stimulus(name: &str, directory: &Path, mode: &[&str]) -> anyhow::Result<Run> {
    fs::create_dir(directory)?;
    let directory = fs::canonicalize(directory)?;
    let recorder = Recorder::with_configuration("[guard]\naction = \"off\"\n")?;
    let words = [STIMULUS.as_ref(), name.as_ref(), directory.as_os_str()];
    let mode = mode.iter().map(std::ffi::OsStr::new);
    let output = recorder.run(words.into_iter().chain(mode))?;
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

#[test]
fn every_file_operation_is_recorded_once_on_every_file_system() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let scratch = tempfile::tempdir()?;
        let (mounted, absent) = all(scratch.path())?;
        for place in &mounted {
            let run = of_stimulus("files", &place.directory.join("files"), &[])?;
            same(&run.done, &run.recorded).with_context(|| format!("on {}", place.kind))?;
        }
        for (kind, why) in absent {
            skip_part!(kind, "{why}");
        }
        Ok(())
    })
}

#[test]
fn what_is_removed_is_known_by_its_inode_on_every_file_system() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let scratch = tempfile::tempdir()?;
        let (mounted, absent) = all(scratch.path())?;
        for place in &mounted {
            let run = of_stimulus("ways", &place.directory.join("ways"), &["plain"])?;
            let recorded = removals(run.recorded);
            if run.sees_objects {
                same(&run.done, &recorded).with_context(|| format!("on {}", place.kind))?;
                continue;
            }
            // A tracepoint sees no inode of a removed file, and its record claims none.
            ensure!(recorded.len() == run.done.len(), "on {}", place.kind);
            for record in &recorded {
                let file = &record["file"];
                ensure!(
                    file["ino"].is_null() && file["pathSource"] == "USER",
                    "{record}"
                );
            }
        }
        for (kind, why) in absent {
            skip_part!(kind, "{why}");
        }
        Ok(())
    })
}
