//! Ground truth of file operations: each one is recorded once, and nothing of a
//! process outside the session.

use std::ffi::OsStr;

use agent_recorder_tests::lab::beside::Beside;
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::compare::{files_under, said, same_or_told, sees_objects};
use serde_json::Value;

use crate::{STIMULUS, stimulus};

/// Where objects are seen, every path of a successful act is the kernel's, except those
/// of a hook that is reported as absent: before 6.1 no program attaches to that of
/// chown(2).
fn paths_are_the_kernels(recorded: &[Value], absent: &[String]) -> anyhow::Result<()> {
    let lacks_chown = absent.iter().any(|hook| hook.ends_with("path_chown"));
    anyhow::ensure!(
        !lacks_chown || is_before_6_1()?,
        "the hook of chown(2) is told to be absent on a kernel that has it"
    );
    let is_seen = |file: &&Value| !(lacks_chown && file["op"] == "CHOWN");
    let of_caller: Vec<_> = recorded
        .iter()
        .map(|line| &line["file"])
        .filter(is_seen)
        .filter(|file| file.get("error").is_none() && file["pathSource"] != "KERNEL")
        .collect();
    anyhow::ensure!(of_caller.is_empty(), "{of_caller:#?}");
    Ok(())
}

fn is_before_6_1() -> anyhow::Result<bool> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        anyhow::bail!("{release:?} is no kernel's release");
    };
    Ok((major, minor) < (6, 1))
}

fn all_is_recorded(abi: &[&str]) -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    let stimulus = stimulus("files");
    let neighbour = Beside::start(&stimulus)?;
    let words = stimulus.iter().map(OsStr::new);
    let mode = abi.iter().map(OsStr::new);
    let output = recorder.run(words.chain([directory.as_os_str()]).chain(mode))?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    neighbour.was_left_alone(&records)?;
    let recorded = files_under(&records, &directory.display().to_string());
    if sees_objects(&records) {
        paths_are_the_kernels(&recorded, &recorder.absent_hooks()?)?;
    }
    same_or_told(&said(&output.stdout)?, &recorded, &records)
}

#[test]
fn every_file_operation_is_recorded_once_and_no_other() -> anyhow::Result<()> {
    all_is_recorded(&[])
}

#[test]
fn every_file_operation_of_32_bit_code_is_recorded_once_and_no_other() -> anyhow::Result<()> {
    all_is_recorded(&["compat"])
}

/// The results may differ: a kernel can lack a way, and a file system the flags.
#[test]
fn flags_of_an_inode_are_recorded_with_what_was_set() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let file = std::fs::canonicalize(scratch.path())?.join("file");
    std::fs::write(&file, "somebody else's")?;
    let output = recorder.run([STIMULUS.as_ref(), "flags".as_ref(), file.as_os_str()])?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    let recorded: Vec<_> = files_under(&records, &file.display().to_string())
        .into_iter()
        .filter(|line| line["file"]["op"] != "OPEN")
        .collect();
    same_or_told(&said(&output.stdout)?, &recorded, &records)
}
