//! Ground truth of io_uring: its operations have the same records as system calls.

use agent_recorder_tests::lab::beside::Beside;
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::compare::{files_under, of_kinds, said, same_or_told};

use agent_recorder_tests::skip;

use crate::stimulus;

/// Rounds of some thirty operations.
const ROUNDS: usize = 8;

/// Compares the records of a mode, or returns why it cannot.
fn all_is_recorded(mode: &str) -> anyhow::Result<Option<String>> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    if let Some(hook) = recorder.unseen_requests()? {
        return Ok(Some(format!(
            "this kernel shows no requests: {hook} is absent"
        )));
    }
    let stimulus = stimulus("uring");
    let neighbour = Beside::start(&stimulus)?;
    let output = recorder.run_rounds(ROUNDS, stimulus, &directory, mode)?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    neighbour.was_left_alone(&records)?;
    let mut recorded = files_under(&records, &directory.display().to_string());
    recorded.extend(of_kinds(&records, &["network"]));
    same_or_told(&said(&output.stdout)?, &recorded, &records)?;
    Ok(None)
}

#[test]
fn every_operation_that_the_submitter_does_is_recorded_once() -> anyhow::Result<()> {
    if let Some(why) = all_is_recorded("submit")? {
        skip!("{why}");
    }
    Ok(())
}

#[test]
fn every_operation_that_a_worker_does_is_recorded_once() -> anyhow::Result<()> {
    if let Some(why) = all_is_recorded("workers")? {
        skip!("{why}");
    }
    Ok(())
}

#[test]
fn every_operation_that_the_polling_thread_takes_is_recorded_once() -> anyhow::Result<()> {
    if let Some(why) = all_is_recorded("poll")? {
        skip!("{why}");
    }
    Ok(())
}
