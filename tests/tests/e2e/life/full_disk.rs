//! On a disk that is really full the recorder and its guard continue, and every
//! record without room is counted.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use agent_recorder::record::proto::record::Body;
use agent_recorder::record::proto::{FileOp, KindCount, Record};
use agent_recorder::spool::{Item, Store};
use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::file_systems::{in_own_namespace, small_tmpfs};
use agent_recorder_tests::lab::files::{count, fill};
use agent_recorder_tests::lab::recorder::GUARDING_TEMPORARY;
use agent_recorder_tests::lab::wait::wait_for;
use anyhow::{Context as _, bail, ensure};

/// More than a daemon's files and held records need, less than the storm makes.
const DISK_BYTES: u64 = 24 << 20;
/// How many files the test makes, of which a session destroys at most the guard's limit.
const FILES: usize = 500;
const LIMIT: usize = 64;

type Counts = BTreeMap<String, u64>;

/// Writes until the disk has no room for a byte.
fn fill_up(path: &Path) -> anyhow::Result<()> {
    let mut file = File::create(path)?;
    for size in [1 << 20, 4096, 1] {
        let bytes = vec![1; size];
        loop {
            match file.write_all(&bytes) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("fill the disk"),
            }
        }
    }
    Ok(())
}

/// All records of the one stream, whose numbers must be dense.
fn records(spool: &Path) -> anyhow::Result<Vec<Record>> {
    let store = Store::open(spool)?;
    let streams = store.streams()?;
    ensure!(streams.len() == 1, "{streams:?}");
    let mut cursor = store.durable_cursor(streams[0])?;
    let mut records = Vec::new();
    while let Some(item) = cursor.next()? {
        let Item::Record { seq, record, .. } = item else {
            bail!("the spool is damaged: {item:?}");
        };
        ensure!(seq.0 == records.len() as u64 + 1, "{seq} is not dense");
        records.push(*record);
    }
    Ok(records)
}

/// The ring's kind of a record, as in `loss.rs`.
fn kind(record: &Record) -> Option<&'static str> {
    Some(match record.body.as_ref()? {
        Body::Exec(_) => "exec",
        Body::Fork(_) => "fork",
        Body::Exit(_) => "exit",
        Body::File(file) => match file.op() {
            FileOp::Delete | FileOp::Rmdir => "delete",
            FileOp::Open => "open",
            _ => "file",
        },
        _ => return None,
    })
}

fn add(to: &mut Counts, counts: &[KindCount]) {
    for KindCount { kind, count } in counts {
        *to.entry(kind.clone()).or_default() += count;
    }
}

/// The records that the spool reports as dropped.
fn dropped(records: &[Record]) -> Counts {
    let mut dropped = Counts::new();
    for record in records {
        if let Some(Body::Loss(loss)) = &record.body
            && loss.stage == "spool"
        {
            add(&mut dropped, &loss.kinds);
        }
    }
    dropped
}

fn session(daemon: &Daemon, command: &[&str]) -> anyhow::Result<std::process::Output> {
    let output = daemon.command("run")?.arg("--").args(command).output()?;
    Ok(output)
}

/// S1.
#[test]
fn on_a_full_disk_recorder_and_guard_go_on_and_what_had_no_room_is_told_exactly()
-> anyhow::Result<()> {
    in_own_namespace(|| {
        let scratch = tempfile::tempdir()?;
        let disk = small_tmpfs(&scratch.path().join("disk"), DISK_BYTES)?;
        let state = tempfile::tempdir_in(&disk.directory)?;
        let limit = format!("{GUARDING_TEMPORARY}limit = {LIMIT}\n");
        let daemon = Daemon::start_in(state, &limit)?;
        let filler = disk.directory.join("filler");
        fill_up(&filler)?;

        let storm = scratch.path().join("storm");
        fs::create_dir(&storm)?;
        let output = session(
            &daemon,
            &[crate::STIMULUS, "storm", &storm.display().to_string()],
        )?;
        ensure!(output.status.success(), "{output:?}");

        let victims = scratch.path().join("victims");
        fill(&victims, FILES)?;
        let output = session(&daemon, &["rm", "-rf", &victims.display().to_string()])?;
        ensure!(!output.status.success(), "it was not stopped: {output:?}");
        let left = count(&victims)?;
        ensure!(left >= FILES - LIMIT, "{left} of {FILES} are left");

        fs::remove_file(&filler)?;
        let spool = daemon.state().join("spool");
        wait_for("it to recover by itself", || {
            Ok((!dropped(&records(&spool)?).is_empty()).then_some(()))
        })?;
        let output = session(&daemon, &["true"])?;
        ensure!(output.status.success(), "{output:?}");
        let state = daemon.stop()?;

        let records = records(&state.path().join("spool"))?;
        let told = dropped(&records);
        let is = |name: &str| {
            let named = |record: &Record| matches!(&record.body, Some(Body::StreamEvent(event)) if event.event == name);
            records.iter().filter(|record| named(record)).count()
        };
        assert_eq!(is("spool_outage"), 1);
        let enforced = |record: &&Record| matches!(record.body, Some(Body::Enforcement(_)));
        assert_eq!(records.iter().filter(enforced).count(), 1);
        let last_end = records.iter().rev().find_map(|record| match &record.body {
            Some(Body::SessionEnd(end)) => end.totals.as_ref(),
            _ => None,
        });
        let mut delivered = Counts::new();
        add(
            &mut delivered,
            &last_end.context("no session ended")?.delivered,
        );
        let mut kept = Counts::new();
        for kind in records.iter().filter_map(kind) {
            *kept.entry(kind.to_owned()).or_default() += 1;
        }
        assert_eq!(told.keys().collect::<Vec<_>>(), ["open"], "{told:?}");
        for kind in ["exec", "fork", "exit", "delete", "open", "file"] {
            let of = |counts: &Counts| counts.get(kind).copied().unwrap_or(0);
            assert_eq!(
                of(&delivered),
                of(&kept) + of(&told),
                "{kind}: {delivered:?} {kept:?} {told:?}"
            );
        }
        let mut verify = Command::new(agent_recorder_tests::lab::recorder::binary()?);
        let verified = verify
            .args(["verify", "--state-dir"])
            .arg(state.path())
            .output()?;
        assert_eq!(verified.status.code(), Some(3), "{verified:?}");
        println!("kept {kept:?}, dropped {told:?}");
        // The state goes before its disk.
        drop(state);
        Ok(())
    })
}
