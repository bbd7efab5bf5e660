//! The recorder verifies that its hooks fire, reports that to its service manager,
//! and records when they do not.

use std::collections::HashSet;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use agent_recorder::record::proto::{self, TamperAct, record::Body};
use agent_recorder_abi::agent_rule::RuleKey;
use agent_recorder_abi::limits::SYSCALL_NUMBERS;
use agent_recorder_abi::syscall::Spec;
use agent_recorder_tests::lab::daemon::{Daemon, Record};
use agent_recorder_tests::lab::host;
use agent_recorder_tests::lab::recorder::doctor;
use agent_recorder_tests::skip;
use anyhow::{Context as _, bail, ensure};
use aya::maps::{Array, HashMap, Map, MapData, loaded_maps};

/// The shortest interval of canaries.
const OFTEN: &str = "[recorder]\ncanary = \"1s\"\n";
/// Interval of the service manager's watchdog: the daemon reports twice in that time.
const WITHIN: Duration = Duration::from_secs(2);
/// Reports that prove canaries: without any the daemon reports for three intervals only.
const PROOFS: usize = 6;
/// Longest wait; a slower step hangs.
const MOST: Duration = Duration::from_secs(120);

/// Waits until the stored records satisfy `is_it`.
fn wait_for(
    daemon: &Daemon,
    what: &str,
    is_it: impl Fn(&[proto::Record]) -> bool,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + MOST;
    while !is_it(&daemon.stored()?) {
        ensure!(Instant::now() < deadline, "{what}: {:#?}", daemon.stored()?);
        // The daemon's messages have the interval of its canaries.
        daemon.said("WATCHDOG=1")?;
    }
    Ok(())
}

/// The recorder's records of acts against itself that belong to no session.
fn tampers(records: &[proto::Record], act: TamperAct) -> Vec<&str> {
    let tampers = records.iter().filter_map(|record| match &record.body {
        Some(Body::Tamper(tamper)) if tamper.act() == act => Some(tamper.detail.as_str()),
        _ => None,
    });
    tampers.collect()
}

fn silences(records: &[proto::Record]) -> Vec<&str> {
    tampers(records, TamperAct::HookSilent)
}

fn told(records: &[proto::Record], event: &str) -> bool {
    records
        .iter()
        .any(|record| matches!(&record.body, Some(Body::StreamEvent(told)) if told.event == event))
}

fn wait_for_proofs(daemon: &Daemon, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + MOST;
    let mut proofs = 0;
    while proofs < count {
        ensure!(Instant::now() < deadline, "{proofs} proofs");
        proofs += usize::from(daemon.said("WATCHDOG=1")?);
    }
    Ok(())
}

/// The record of a file that a session removes.
fn removal(daemon: &Daemon) -> anyhow::Result<bool> {
    let status = daemon
        .command("run")?
        .args(["--", "/bin/sh", "-c", "f=$(mktemp); rm $f"])
        .status()?;
    ensure!(status.success(), "{status}");
    let output = daemon
        .command("replay")?
        .args(["--format", "json", "--kind", "file"])
        .output()?;
    let shown = String::from_utf8(output.stdout)?;
    let records = shown
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Record>, _>>()?;
    let mut files = records.iter().filter_map(|record| record.file.as_ref());
    Ok(files.any(|file| file.op == "DELETE"))
}

#[test]
fn canaries_prove_that_records_move_and_leave_none() -> anyhow::Result<()> {
    let daemon = Daemon::start_watched(OFTEN, WITHIN)?;
    wait_for_proofs(&daemon, PROOFS)?;
    let records = daemon.stored()?;
    let sessions = records.iter().filter(|it| !it.session_id.is_empty());
    assert_eq!(sessions.count(), 0, "{records:#?}");
    assert_eq!(silences(&records), [""; 0]);
    assert_eq!(tampers(&records, TamperAct::MapChanged), [""; 0]);
    for event in ["canary_failed", "hooks_attached_anew"] {
        ensure!(!told(&records, event), "{records:#?}");
    }
    // Canaries are absent from a session's produced events, too.
    removal(&daemon)?;
    let records = daemon.stored()?;
    let execs = records
        .iter()
        .filter(|record| matches!(record.body, Some(Body::Exec(_))));
    let made = records.iter().find_map(|record| match &record.body {
        Some(Body::SessionEnd(end)) => {
            let mut made = end.totals.iter().flat_map(|totals| &totals.produced);
            made.find(|made| made.kind == "exec")
        }
        _ => None,
    });
    let made = made.context("a session's end says it")?;
    assert_eq!(made.count, execs.count() as u64);
    daemon.stop()?;
    Ok(())
}

/// K22: another process removes the programs' table of system calls.
#[test]
fn what_the_programs_know_is_told_when_it_is_changed_and_put_back() -> anyhow::Result<()> {
    let daemon = Daemon::start_watched(OFTEN, WITHIN)?;
    wait_for_proofs(&daemon, PROOFS)?;
    let mut session = daemon
        .command("run")?
        .args(["--", "/bin/cat"])
        .stdin(Stdio::piped())
        .spawn()?;
    wait_for(&daemon, "a session", |it| {
        it.iter().any(|it| !it.session_id.is_empty())
    })?;
    let calls = Map::Array(map_of(&daemon, "SYSCALLS")?);
    let mut calls: Array<_, [u8; size_of::<Spec>()]> = Array::try_from(calls)?;
    for number in 0..2 * SYSCALL_NUMBERS {
        calls.set(number, [0; size_of::<Spec>()], 0)?;
    }
    let is_told = |records: &[proto::Record]| !silences(records).is_empty();
    wait_for(&daemon, "it is told", is_told)?;
    let records = daemon.stored()?;
    let silence = silences(&records).join(", ");
    ensure!(silence.contains("DELETE"), "{silence}");
    ensure!(!silence.contains("exit"), "{silence}");
    wait_for(&daemon, "they are back", |it| told(it, "hooks_back"))?;
    drop(session.stdin.take());
    ensure!(session.wait()?.success());
    let shown = daemon.command("replay")?.output()?;
    // Acts of the session meanwhile may be missing.
    assert_eq!(shown.status.code(), Some(3));
    let shown = String::from_utf8(shown.stdout)?;
    ensure!(shown.contains("TAMPER   HOOK_SILENT"), "{shown}");
    ensure!(
        removal(&daemon)?,
        "a removal is not recorded, though they are back"
    );
    daemon.stop()?;
    Ok(())
}

/// K22: another process removes a rule.
#[test]
fn a_rule_that_is_taken_away_is_told_of_and_put_back() -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let rules = Map::HashMap(map_of(&daemon, "RULES")?);
    let mut rules: HashMap<_, [u8; size_of::<RuleKey>()], u32> = HashMap::try_from(rules)?;
    let (key, value) = rules.iter().next().context("there is a rule")??;
    rules.remove(&key)?;
    // The map has no room for the rule.
    let mut other = [u8::MAX; size_of::<RuleKey>()];
    for number in 0u32.. {
        other[..4].copy_from_slice(&number.to_ne_bytes());
        if rules.insert(other, 0, 0).is_err() {
            break;
        }
    }
    wait_for(&daemon, "it is told", |records| {
        tampers(records, TamperAct::MapChanged) == ["RULES"]
    })?;
    assert_eq!(rules.get(&key, 0)?, value);
    daemon.stop()?;
    Ok(())
}

/// A map of this daemon, by the descriptors that it holds.
fn map_of(daemon: &Daemon, name: &str) -> anyhow::Result<MapData> {
    let pid = fs::read_to_string(daemon.state().join("daemon.lock"))?;
    let mut held = HashSet::new();
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", pid.trim()))? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let numbers = text.lines().filter_map(|line| line.strip_prefix("map_id:"));
        held.extend(numbers.filter_map(|number| number.trim().parse::<u32>().ok()));
    }
    for map in loaded_maps() {
        let map = map?;
        if held.contains(&map.id()) && map.name_as_str() == Some(name) {
            return Ok(MapData::from_id(map.id())?);
        }
    }
    bail!("the daemon holds no map {name}")
}

const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";

/// Turns ftrace off until it is dropped.
struct NoFtrace;

impl NoFtrace {
    fn begin() -> std::io::Result<Self> {
        fs::write(FTRACE, "0")?;
        Ok(Self)
    }
}

impl Drop for NoFtrace {
    fn drop(&mut self) {
        // A failure here has no remedy.
        let _ = fs::write(FTRACE, "1");
    }
}

/// K22, D8: the kernel calls programs on functions through ftrace.
#[test]
fn hooks_that_the_kernel_does_not_call_are_told_and_no_proof_is_given() -> anyhow::Result<()> {
    let _host = host::alone();
    let daemon = Daemon::start_watched(OFTEN, WITHIN)?;
    let profile = doctor()?["profile"].as_str().context("doctor says it")?;
    if profile == "tracepoint" {
        daemon.stop()?;
        skip!("tracepoints do without ftrace");
    }
    wait_for_proofs(&daemon, PROOFS)?;
    let Ok(off) = NoFtrace::begin() else {
        daemon.stop()?;
        skip!("this kernel turns ftrace off only where nobody uses it");
    };
    let is_told = |records: &[proto::Record]| !silences(records).is_empty();
    wait_for(&daemon, "it is told", is_told)?;
    // Earlier messages are still in the socket.
    while daemon.said("WATCHDOG=1")? {}
    let heard = Instant::now();
    while heard.elapsed() < 2 * WITHIN {
        ensure!(!daemon.said("WATCHDOG=1")?, "proof without hooks");
    }
    drop(off);
    wait_for(&daemon, "they are back", |it| told(it, "hooks_back"))?;
    wait_for_proofs(&daemon, 1)?;
    daemon.stop()?;
    Ok(())
}
