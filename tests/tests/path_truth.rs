//! Where security hooks see the object, a record says what was really acted
//! on, whatever happens to the path meanwhile.

use agent_recorder_tests::compare::{files_under, said, same};
use agent_recorder_tests::recorder::Recorder;
use serde_json::Value;

const ROUNDS: usize = 10_000;

#[test]
fn a_path_that_is_swapped_during_the_call_is_the_object_removed() -> anyhow::Result<()> {
    // The guard would end it at its limit.
    let recorder = Recorder::with_configuration("[guard]\naction = \"off\"\n")?;
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    let rounds = ROUNDS.to_string();
    let output = recorder.run([
        env!("CARGO_BIN_EXE_stim_swap").as_ref(),
        directory.as_os_str(),
        rounds.as_ref(),
    ])?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    let recorded = files_under(&records, &directory.display().to_string());
    if sees_objects(&records) {
        let acts = ["CREATE", "DELETE"].map(Value::from);
        let recorded: Vec<Value> = recorded
            .into_iter()
            .filter(|line| acts.contains(&line["file"]["op"]))
            .collect();
        return same(&said(&output.stdout)?, &recorded);
    }
    // A tracepoint has the path only as it was read afterwards, and says so.
    let deletes: Vec<&Value> = recorded
        .iter()
        .filter(|line| line["file"]["op"] == "DELETE")
        .collect();
    assert_eq!(deletes.len(), ROUNDS);
    assert!(
        deletes
            .iter()
            .all(|line| line["file"]["pathSource"] == "USER")
    );
    Ok(())
}

fn sees_objects(records: &[Value]) -> bool {
    records.iter().any(|record| {
        let profile = &record["sessionStart"]["profile"];
        profile == "lsm" || profile == "fentry"
    })
}
