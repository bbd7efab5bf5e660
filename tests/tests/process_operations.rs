//! Ground truth of processes: every fork, exec and exit once, nothing else, and nothing of a neighbour.

use agent_recorder_tests::beside::Beside;
use agent_recorder_tests::compare::{of_kinds, said, same};
use agent_recorder_tests::recorder::Recorder;

#[test]
fn every_fork_exec_and_exit_is_recorded_once_and_no_other() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let stimulus = env!("CARGO_BIN_EXE_stim_processes");
    let neighbour = Beside::start(stimulus)?;
    let output = recorder.run([stimulus.as_ref(), scratch.path().as_os_str()])?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    neighbour.was_left_alone(&records)?;
    let recorded = of_kinds(&records, &["fork", "exec", "exit"]);
    same(&said(&output.stdout)?, &recorded)
}
