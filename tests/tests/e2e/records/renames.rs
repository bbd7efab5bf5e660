//! The record of a rename shows whether it replaced a file.

use std::fs;

use agent_recorder_tests::lab::recorder::{Recorder, doctor};
use agent_recorder_tests::oracle::compare::sees_objects;
use agent_recorder_tests::skip;
use anyhow::Context as _;
use serde_json::{Value, json};

/// Each rename, whether its new name is taken, and `replaced` in its record.
const RENAMES: [(&str, bool, Option<bool>); 5] = [
    ("over", true, Some(true)),
    ("free", false, Some(false)),
    ("exchanged", true, Some(false)),
    ("kept", false, Some(false)),
    // It failed.
    ("refused", true, None),
];
/// A rename over a file that has another name: not one of the stimulus's.
const LINKED: &str = "linked.to";

fn each_says_what_it_replaced(way: &str) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = fs::canonicalize(scratch.path())?;
    for (name, stands_there, _) in RENAMES {
        fs::write(directory.join(format!("{name}.from")), "new")?;
        if stands_there {
            fs::write(directory.join(format!("{name}.to")), "old")?;
        }
    }
    let recorder = Recorder::new()?;
    let output = recorder.run([
        crate::STIMULUS.as_ref(),
        "renames".as_ref(),
        directory.as_os_str(),
        way.as_ref(),
    ])?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    let sees_objects = sees_objects(&records);
    let sees_victims = doctor()?["seesVictims"] == true;
    for (name, _, expected) in RENAMES {
        let renamed = renamed_to(&records, &format!("/{name}.to"))?;
        let expected = match expected {
            Some(true) if !sees_victims => None,
            // Only a hook sees that a name was free; the flags of a call can state it, too.
            Some(false) if !sees_objects && name == "free" => None,
            expected => expected,
        };
        let said = renamed.get("replaced").cloned().unwrap_or_default();
        assert_eq!(said, json!(expected), "{name}: {renamed:#}");
    }
    Ok(())
}

fn renamed_to<'a>(records: &'a [Value], name: &str) -> anyhow::Result<&'a Value> {
    records
        .iter()
        .map(|record| &record["file"])
        .filter(|file| file["op"] == "RENAME")
        .find(|file| {
            file["newPath"]
                .as_str()
                .is_some_and(|path| path.ends_with(name))
        })
        .with_context(|| format!("no rename to {name}"))
}

#[test]
fn a_rename_says_what_it_replaced() -> anyhow::Result<()> {
    each_says_what_it_replaced("syscall")
}

#[test]
fn a_rename_of_32_bit_code_says_what_it_replaced() -> anyhow::Result<()> {
    each_says_what_it_replaced("compat")
}

#[test]
fn a_rename_by_io_uring_says_what_it_replaced() -> anyhow::Result<()> {
    if let Some(hook) = Recorder::new()?.unseen_requests()? {
        skip!("this kernel shows no requests of io_uring: {hook} is absent");
    }
    each_says_what_it_replaced("io_uring")
}

/// The file loses this name and keeps another: a tracepoint does not see which names a file has.
#[test]
fn a_file_with_another_name_is_never_said_not_to_be_replaced() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = fs::canonicalize(scratch.path())?;
    fs::write(directory.join("new"), "new")?;
    fs::write(directory.join(LINKED), "old")?;
    fs::hard_link(directory.join(LINKED), directory.join("other"))?;
    let recorder = Recorder::new()?;
    let (new, linked) = (directory.join("new"), directory.join(LINKED));
    let output = recorder.run([
        "mv".as_ref(),
        "-f".as_ref(),
        new.as_os_str(),
        linked.as_os_str(),
    ])?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    let expected = sees_objects(&records).then_some(true);
    let renamed = renamed_to(&records, LINKED)?;
    let said = renamed.get("replaced").cloned().unwrap_or_default();
    assert_eq!(said, json!(expected), "{renamed:#}");
    Ok(())
}
