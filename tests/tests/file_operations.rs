//! Ground truth of file operations: every one once, nothing else, and nothing of a neighbour.

use std::process::Command;

use agent_recorder_tests::compare::{differences, files_under, said};
use agent_recorder_tests::recorder::Recorder;

#[test]
fn every_file_operation_is_recorded_once_and_no_other() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    let beside = tempfile::tempdir()?;
    let stimulus = env!("CARGO_BIN_EXE_stim_files");
    let neighbour = Command::new(stimulus).arg(beside.path()).output()?;
    assert!(neighbour.status.success());
    let output = recorder.run([stimulus.as_ref(), directory.as_os_str()])?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    let done = said(&output.stdout)?;
    let recorded = files_under(&records, &directory.display().to_string());
    let (missing, spurious) = differences(&done, &recorded);
    assert!(
        missing.is_empty() && spurious.is_empty(),
        "missing:\n{}\nspurious:\n{}",
        missing.join("\n"),
        spurious.join("\n")
    );
    let foreign = files_under(&records, &beside.path().display().to_string());
    assert!(foreign.is_empty(), "of the neighbour: {foreign:?}");
    Ok(())
}
