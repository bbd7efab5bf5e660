//! Ground truth of network operations: each one is recorded once, and nothing of a
//! process outside the session.
//!
//! Where security hooks see the kernel's copy of an address, a record has the address
//! that was really reached, whatever happens to the caller's memory meanwhile.

use std::collections::BTreeSet;

use agent_recorder_tests::lab::beside::Beside;
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::compare::{of_kinds, said, same, same_or_told, sees_objects};

use crate::{STIMULUS, stimulus};

#[test]
fn every_network_operation_is_recorded_once_and_no_other() -> anyhow::Result<()> {
    // Rounds of some 140 operations.
    const ROUNDS: usize = 2;
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let stimulus = stimulus("net");
    let neighbour = Beside::start(&stimulus)?;
    let output = recorder.run_rounds(ROUNDS, stimulus, scratch.path(), "")?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    neighbour.was_left_alone(&records)?;
    let recorded = of_kinds(&records, &["network", "dns"]);
    same_or_told(&said(&output.stdout)?, &recorded, &records)
}

/// Operations on the swapped address.
const OPS: [&str; 2] = ["SEND", "CONNECT"];
/// Rounds of each operation.
const ROUNDS: usize = 500;

#[test]
fn an_address_that_is_swapped_during_the_call_is_the_one_that_was_reached() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let rounds = ROUNDS.to_string();
    let output = recorder.run([STIMULUS, "swap_address", "/", rounds.as_str()])?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    let done = said(&output.stdout)?;
    let mut recorded = of_kinds(&records, &["network"]);
    recorded.retain(|line| OPS.iter().any(|op| line["network"]["op"] == **op));
    for op in OPS {
        let peers: BTreeSet<_> = done
            .iter()
            .filter(|line| line["network"]["op"] == *op)
            .map(|line| line["network"]["peer"].to_string())
            .collect();
        assert_eq!(peers.len(), 2, "{op} was not under attack: {peers:?}");
    }
    if sees_objects(&records) {
        return same(&done, &recorded);
    }
    // A tracepoint reads the address after the call: only the number of records is certain.
    assert_eq!(done.len(), recorded.len());
    Ok(())
}
