//! The guard ends a session that deletes in bulk at the limit, and not a process
//! outside it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use agent_recorder_tests::lab::files::{count, fill};
use agent_recorder_tests::lab::programs::missing;
use agent_recorder_tests::lab::recorder::{Recorder, refuses};
use agent_recorder_tests::oracle::compare::enforcement;
use agent_recorder_tests::{skip, skip_part};
use serde_json::Value;

use crate::STIMULUS;

const FILES: usize = 10_000;
const LIMIT: usize = 64;
/// More than the limit, for tests in which the excess does not matter.
const ENOUGH: usize = 10 * LIMIT;

fn gone(directory: &Path) -> anyhow::Result<usize> {
    Ok(FILES - count(directory)?)
}

#[test]
fn rm_ends_with_exactly_the_limit_gone_and_its_neighbour_goes_on() -> anyhow::Result<()> {
    let recorder = Recorder::with_guard("")?;
    let (ours, theirs) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (ours, theirs) = (ours.path().join("tree"), theirs.path().join("tree"));
    fill(&ours, FILES)?;
    fill(&theirs, FILES)?;
    let mut neighbour = Command::new("rm").arg("-rf").arg(&theirs).spawn()?;
    let output = recorder.run(["rm".as_ref(), "-rf".as_ref(), ours.as_os_str()])?;
    assert!(neighbour.wait()?.success());
    assert!(!theirs.exists());
    assert_eq!(output.status.code(), Some(128 + 9), "{output:?}");
    assert_eq!(gone(&ours)?, LIMIT);
    let records = recorder.replay()?;
    let enforcement = enforcement(&records)?;
    let action = if refuses()? { "DENY" } else { "KILL" };
    assert_eq!(enforcement["action"], action);
    assert_eq!(enforcement["count"], LIMIT);
    assert_eq!(enforcement["limit"], LIMIT);
    assert_eq!(enforcement["survivors"], 0);
    // E11: a signal does not undo the call that it ends.
    assert_eq!(enforcement["operationMayHaveCompleted"], !refuses()?);
    assert!(
        enforcement["latencyNs"]
            .as_u64()
            .is_some_and(|latency| latency > 0)
    );
    let end = records.iter().find_map(|record| record.get("sessionEnd"));
    assert_eq!(end.map(|end| &end["reason"]), Some(&Value::from("KILLED")));
    Ok(())
}

#[test]
fn everyone_who_was_killed_is_named() -> anyhow::Result<()> {
    let recorder = Recorder::with_guard("")?;
    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    fill(&tree, ENOUGH)?;
    let command = format!("sleep 1000 & rm -rf {}; true", tree.display());
    recorder.run(["sh", "-c", &command])?;
    let records = recorder.replay()?;
    let died: BTreeSet<u64> = records
        .iter()
        .filter(|record| record["exit"]["signal"] == 9)
        .filter_map(|record| record["process"]["pid"].as_u64())
        .collect();
    let named: BTreeSet<u64> = enforcement(&records)?["killed"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    // The shell, sleep and rm.
    assert_eq!(died.len(), 3, "{died:?}");
    assert_eq!(named, died);
    Ok(())
}

/// A parent that waited for the killed child starts no other, though it makes no recorded
/// call in between.
#[test]
fn a_child_for_each_file_ends_with_exactly_the_limit_gone() -> anyhow::Result<()> {
    let recorder = Recorder::with_guard("window = \"2m\"\n")?;
    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    fill(&tree, FILES)?;
    let output = recorder.run([STIMULUS.as_ref(), "forks".as_ref(), tree.as_os_str()])?;
    assert_eq!(output.status.code(), Some(128 + 9), "{output:?}");
    assert_eq!(gone(&tree)?, LIMIT);
    Ok(())
}

/// On Linux 7 in `tracepoint`, each replica of a program notes what a rename touches, and
/// the moved files were once unseen after that.
#[test]
fn what_is_moved_to_where_it_may_go_counts_when_it_goes() -> anyhow::Result<()> {
    let recorder = Recorder::with_guard("")?;
    let scratch = tempfile::tempdir()?;
    let (tree, build) = (scratch.path().join("tree"), scratch.path().join("build"));
    fill(&tree, ENOUGH)?;
    fs::create_dir(&build)?;
    let script = r#"mv "$1"/* "$2" && rm -rf "$2""#;
    recorder.run([
        "sh".as_ref(),
        "-c".as_ref(),
        script.as_ref(),
        "sh".as_ref(),
        tree.as_os_str(),
        build.as_os_str(),
    ])?;
    let records = recorder.replay()?;
    assert_eq!(enforcement(&records)?["survivors"], 0);
    // Deletes for which the kernel skips programs can exceed the limit.
    let left = count(&build)?;
    assert!(left > ENOUGH - 2 * LIMIT, "{left} files are left");
    Ok(())
}

#[test]
fn eight_rm_at_once_end_within_their_number_of_the_limit() -> anyhow::Result<()> {
    const AT_ONCE: usize = 8;
    let recorder = Recorder::with_guard("")?;
    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    fill(&tree, FILES)?;
    let command = format!(
        "find {} -type f | xargs -P {AT_ONCE} -n 100 rm",
        tree.display()
    );
    recorder.run(["sh", "-c", &command])?;
    let gone = gone(&tree)?;
    let records = recorder.replay()?;
    let beyond = if refuses()? { 0 } else { AT_ONCE };
    assert!(
        (LIMIT..=LIMIT + beyond).contains(&gone),
        "{gone} files are gone"
    );
    assert_eq!(enforcement(&records)?["survivors"], 0);
    Ok(())
}

#[test]
fn an_io_uring_unlinker_ends_at_the_limit() -> anyhow::Result<()> {
    let recorder = Recorder::with_guard("")?;
    if let Some(hook) = recorder.unseen_requests()? {
        skip!("this kernel shows no requests of io_uring: {hook} is absent");
    }
    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    fill(&tree, FILES)?;
    let output = recorder.run([
        STIMULUS.as_ref(),
        "uring".as_ref(),
        tree.as_os_str(),
        "unlink".as_ref(),
    ])?;
    assert_eq!(output.status.code(), Some(128 + 9), "{output:?}");
    let gone = gone(&tree)?;
    // Workers of io_uring that are inside the call end after it, as threads would:
    // the kernel keeps at most four a CPU (io_wq_create() in io_uring/io-wq.c).
    let workers = 4 * std::thread::available_parallelism()?.get();
    let records = recorder.replay()?;
    let beyond = if refuses()? { 0 } else { workers };
    assert!(
        (LIMIT..=LIMIT + beyond).contains(&gone),
        "{gone} files are gone"
    );
    assert_eq!(enforcement(&records)?["survivors"], 0);
    Ok(())
}

#[test]
fn git_clean_ends_at_the_limit() -> anyhow::Result<()> {
    if let Some(why) = missing("git") {
        skip!("{why}");
    }
    let recorder = Recorder::with_guard("")?;
    let scratch = tempfile::tempdir()?;
    let tree = scratch.path().join("tree");
    let repository = scratch.path().join("repository");
    let init = Command::new("git")
        .args(["init", "-q"])
        .arg(&repository)
        .status()?;
    assert!(init.success());
    fill(&tree, FILES)?;
    fs::rename(&tree, repository.join("tree"))?;
    let output = recorder.run([
        "git".as_ref(),
        "-C".as_ref(),
        repository.as_os_str(),
        "clean".as_ref(),
        "-fdx".as_ref(),
    ])?;
    assert_eq!(output.status.code(), Some(128 + 9), "{output:?}");
    assert_eq!(gone(&repository.join("tree"))?, LIMIT);
    Ok(())
}

/// Why find(1) deletes nothing here; `None` where it does. Debian's busybox has it
/// without `-delete`.
fn find_cannot_delete() -> anyhow::Result<Option<String>> {
    let empty = tempfile::tempdir()?;
    let mut find = Command::new("find");
    let output = find.arg(empty.path()).args(["-type", "f", "-delete"]);
    let is_able = output.output()?.status.success();
    Ok((!is_able).then(|| "find(1) has no -delete".to_owned()))
}

#[test]
fn find_delete_and_rmtree_end_at_the_limit() -> anyhow::Result<()> {
    for (program, why_not, command) in [
        ("find", find_cannot_delete()?, "find TREE -type f -delete"),
        (
            "python3",
            missing("python3"),
            "python3 -c 'import shutil; shutil.rmtree(\"TREE\")'",
        ),
    ] {
        if let Some(why) = why_not {
            skip_part!(program, "{why}");
            continue;
        }
        let recorder = Recorder::with_guard("")?;
        let scratch = tempfile::tempdir()?;
        let tree = scratch.path().join("tree");
        fill(&tree, FILES)?;
        let command = command.replace("TREE", &tree.display().to_string());
        recorder.run(["sh", "-c", &command])?;
        assert_eq!(gone(&tree)?, LIMIT, "{command}");
    }
    Ok(())
}
