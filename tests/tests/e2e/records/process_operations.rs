//! Ground truth of processes: every fork, exec and exit, and every act on a process
//! outside the session, is recorded once, and nothing of a process outside it.

use std::ffi::OsStr;

use agent_recorder_tests::lab::beside::Beside;
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::compare::{of_kinds, said, same_or_told};

use crate::stimulus;

fn all_is_recorded(stimulus: &[&'static str], kinds: &[&str]) -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let words = stimulus.iter().map(OsStr::new);
    let neighbour = Beside::start(stimulus)?;
    let output = recorder.run(words.chain([scratch.path().as_os_str()]))?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    neighbour.was_left_alone(&records)?;
    same_or_told(&said(&output.stdout)?, &of_kinds(&records, kinds), &records)
}

#[test]
fn every_fork_exec_and_exit_is_recorded_once_and_no_other() -> anyhow::Result<()> {
    all_is_recorded(
        &[env!("CARGO_BIN_EXE_stim_processes")],
        &["fork", "exec", "exit"],
    )
}

#[test]
fn every_signal_to_others_attach_and_bpf_call_is_recorded_once_and_no_other() -> anyhow::Result<()>
{
    all_is_recorded(&stimulus("controls"), &["control"])
}
