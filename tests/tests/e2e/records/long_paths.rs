//! Paths that are longer than a call can name, or than a record holds.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use agent_recorder_abi::limits::WALKED_PATH_BYTES;
use agent_recorder_tests::lab::recorder::Recorder;
use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, unlinkat};
use serde_json::Value;

/// Makes a chain of directories, each within the last, and gives its path.
fn chain(top: &Path, name: &str, levels: usize) -> anyhow::Result<PathBuf> {
    let mut path = top.to_owned();
    let mut at = openat(rustix::fs::CWD, top, OFlags::DIRECTORY, Mode::empty())?;
    for _ in 0..levels {
        mkdirat(&at, name, Mode::RWXU)?;
        at = openat(&at, name, OFlags::DIRECTORY, Mode::empty())?;
        path.push(name);
    }
    Ok(path)
}

/// Takes it away again: the standard library's way needs a descriptor for each level.
fn unchain(top: &Path, name: &str, levels: usize) -> anyhow::Result<()> {
    let mut at = vec![openat(
        rustix::fs::CWD,
        top,
        OFlags::DIRECTORY,
        Mode::empty(),
    )?];
    for _ in 0..levels {
        let Some(last) = at.last() else { break };
        at.push(openat(last, name, OFlags::DIRECTORY, Mode::empty())?);
    }
    for directory in at.iter().rev().skip(1) {
        unlinkat(directory, name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

/// The record of a file that a session made at the end of such a chain.
fn created_leaf(name: &str, levels: usize) -> anyhow::Result<(PathBuf, Value)> {
    let scratch = tempfile::tempdir()?;
    let top = std::fs::canonicalize(scratch.path())?;
    let deepest = chain(&top, name, levels)?;
    let recorder = Recorder::new()?;
    let output = recorder.run([
        crate::STIMULUS.as_ref(),
        "deep".as_ref(),
        top.as_os_str(),
        name.as_ref(),
        levels.to_string().as_ref(),
    ])?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    unchain(&top, name, levels)?;
    let created = records
        .into_iter()
        .find(|record| record["file"]["op"] == "CREATE" && ends_with_leaf(&record["file"]))
        .ok_or_else(|| anyhow::anyhow!("the file is not recorded"))?;
    Ok((deepest.join("leaf"), created["file"].clone()))
}

fn ends_with_leaf(file: &Value) -> bool {
    file["path"]
        .as_str()
        .is_some_and(|path| path.ends_with("/leaf"))
}

#[test]
fn a_path_of_a_thousand_levels_is_whole() -> anyhow::Result<()> {
    let (path, file) = created_leaf("d", 1000)?;
    assert_eq!(file["path"].as_str(), path.to_str());
    assert_eq!(file["pathTruncated"], Value::Null);
    Ok(())
}

#[test]
fn of_a_path_beyond_the_cap_the_tail_and_the_length_are_recorded() -> anyhow::Result<()> {
    let (path, file) = created_leaf(&"deep".repeat(50), 60)?;
    let whole = path.as_os_str().as_bytes();
    let kept = file["path"].as_str().unwrap_or_default().as_bytes();
    assert!(whole.len() > 12_000);
    assert!(
        (4_096 - 256..=WALKED_PATH_BYTES).contains(&kept.len()),
        "{}",
        kept.len()
    );
    assert!(whole.ends_with(kept), "not the tail");
    assert_eq!(file["pathTruncated"], true);
    assert_eq!(file["pathBytes"], whole.len());
    Ok(())
}
