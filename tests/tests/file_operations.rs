//! Ground truth of file operations: every one once, nothing else, and nothing of a neighbour.

use agent_recorder_tests::beside::Beside;
use agent_recorder_tests::compare::{files_under, said, same};
use agent_recorder_tests::recorder::Recorder;

#[test]
fn every_file_operation_is_recorded_once_and_no_other() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    let stimulus = env!("CARGO_BIN_EXE_stim_files");
    let neighbour = Beside::start(stimulus)?;
    let output = recorder.run([stimulus.as_ref(), directory.as_os_str()])?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    neighbour.was_left_alone(&records)?;
    let recorded = files_under(&records, &directory.display().to_string());
    same(&said(&output.stdout)?, &recorded)
}
