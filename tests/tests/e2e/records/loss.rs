//! Losses are exact: for each kind, the made events are the delivered and the lost
//! ones.

use std::collections::BTreeMap;

use agent_recorder_tests::lab::recorder::Recorder;
use serde_json::Value;

/// Far below what the storm needs.
const SMALL_RING: &str = "[kernel]\nbulk_ring_bytes = 65536\n[guard]\naction = \"off\"\n";
/// A flood of opens must not push these out.
const PRIORITY: [&str; 4] = ["exec", "exit", "fork", "delete"];

type Counts = BTreeMap<String, u64>;

fn counts(list: &Value) -> Counts {
    let entries = list.as_array().into_iter().flatten();
    entries
        .filter_map(|entry| Some((entry["kind"].as_str()?.to_owned(), entry["count"].as_u64()?)))
        .collect()
}

/// The ring's kind of a record, `None` for those that user space makes.
fn kind(record: &Value) -> Option<&'static str> {
    for kind in ["exec", "exit", "fork", "network", "dns"] {
        if record.get(kind).is_some() {
            return Some(kind);
        }
    }
    let file = record.get("file")?;
    Some(match file["op"].as_str()? {
        "DELETE" | "RMDIR" => "delete",
        "OPEN" => "open",
        _ => "file",
    })
}

#[test]
fn with_a_small_ring_produced_is_delivered_and_lost_and_no_exec_exit_or_delete_is_lost()
-> anyhow::Result<()> {
    let recorder = Recorder::with_configuration(SMALL_RING)?;
    let scratch = tempfile::tempdir()?;
    let output = recorder.run([
        crate::STIMULUS.as_ref(),
        "storm".as_ref(),
        scratch.path().as_os_str(),
    ])?;
    assert!(output.status.success(), "{output:?}");
    let made: Value = serde_json::from_slice(&output.stdout)?;
    let records = recorder.replay()?;
    let end = records
        .iter()
        .find_map(|record| record.get("sessionEnd"))
        .ok_or_else(|| anyhow::anyhow!("the session has no end"))?;
    let totals = &end["totals"];
    let (produced, delivered, lost) = (
        counts(&totals["produced"]),
        counts(&totals["delivered"]),
        counts(&totals["lost"]),
    );
    assert!(lost["open"] > 0, "the ring was large enough: {totals}");
    for (kind, count) in &produced {
        assert_eq!(*count, delivered[kind] + lost[kind], "{kind}: {totals}");
    }
    for kind in PRIORITY {
        assert_eq!(lost[kind], 0, "{kind}");
    }

    let mut told = Counts::new();
    for loss in records.iter().filter_map(|record| record.get("loss")) {
        for (kind, count) in counts(&loss["kinds"]) {
            *told.entry(kind).or_default() += count;
        }
    }
    for (kind, count) in &lost {
        assert_eq!(told.get(kind).copied().unwrap_or(0), *count, "{kind}");
    }

    let mut shown = Counts::new();
    for kind in records.iter().filter_map(kind) {
        *shown.entry(kind.to_owned()).or_default() += 1;
    }
    for (kind, count) in &delivered {
        assert_eq!(shown.get(kind).copied().unwrap_or(0), *count, "{kind}");
    }

    assert_eq!(Some(produced["delete"]), made["deletes"].as_u64());
    // The stimulus and its programs, which exec once each, and `run` itself.
    assert_eq!(
        Some(produced["exit"]),
        made["programs"].as_u64().map(|programs| programs + 1)
    );
    // The loader and the runtime add opens, one for each program and file.
    assert!(Some(produced["open"] + produced["file"]) >= made["opens"].as_u64());
    Ok(())
}

#[test]
fn a_replay_of_a_session_with_losses_says_so() -> anyhow::Result<()> {
    let recorder = Recorder::with_configuration(SMALL_RING)?;
    let scratch = tempfile::tempdir()?;
    recorder.run([
        crate::STIMULUS.as_ref(),
        "storm".as_ref(),
        scratch.path().as_os_str(),
    ])?;
    for command in ["replay", "verify"] {
        let output = recorder.command(command)?.output()?;
        assert_eq!(output.status.code(), Some(3), "{command}: {output:?}");
    }
    Ok(())
}
