//! Compares three accounts of one run: the model's orders, strace's account, and the
//! recorder's records.
//!
//! Each check adds sentences about its failures. The caller decides what a failure
//! means.

mod session;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;

use self::session::{Ordered, Session, lossy, ordered, pid, runs};
use crate::lab::agents::stage::{DOOMED_FILES, Run, Stage};
use crate::lab::daemon::{FileRecord, Record};
use crate::lab::model::Call;

/// The guard's default.
const LIMIT: usize = 64;

/// Failures, in sentences.
pub type Failures = Vec<String>;

/// Checks the run itself: every call of the script was ordered and did its work.
/// `stopped` means that the guard had to stop the last one, the delete.
pub fn work(run: &Run, stage: &Stage, calls: usize, stopped: bool) -> anyhow::Result<Failures> {
    let mut failures = Failures::new();
    let mut hold = |holds: bool, sentence: String| {
        if !holds {
            failures.push(sentence);
        }
    };
    let ordered = ordered(run)?;
    hold(run.status.is_some(), "the agent's time was up".to_owned());
    hold(
        ordered.len() == calls,
        format!(
            "{} of {calls} calls were ordered; the agent said: {}",
            ordered.len(),
            run.said
        ),
    );
    let answers = ordered
        .iter()
        .filter(|call| call.answered.is_some())
        .count();
    let expected = if stopped { calls - 1 } else { calls };
    hold(
        answers == expected,
        format!("{answers} calls came back, not {expected}"),
    );
    for call in &ordered {
        if let Call::Shell { command } = call.call {
            let seen = run
                .truth
                .execs
                .iter()
                .any(|exec| runs(&lossy(exec), command));
            hold(seen, format!("strace saw no `{command}`"));
        }
    }
    let written = std::fs::read_to_string(stage.written()).unwrap_or_default();
    hold(
        written == "alpha\ngamma\n",
        format!("the edited file holds {written:?}"),
    );
    hold(stage.sorted().exists(), "make made nothing".to_owned());
    if !stopped {
        let gone = stage.gone()?;
        hold(
            gone == DOOMED_FILES,
            format!("unguarded, only {gone} files are gone"),
        );
    }
    Ok(failures)
}

/// The recorder's account of one run.
#[derive(Debug, Default)]
pub struct Findings {
    /// The rule that recognised the agent.
    pub rule: String,
    /// Ordered calls whose work the records show.
    pub seen: usize,
    /// Processes in the session.
    pub processes: usize,
    /// Execs under a tool call's process.
    pub ordered_execs: usize,
    /// Execs that the agent made of its own accord.
    pub own_execs: usize,
    /// Failed checks.
    pub failures: Failures,
}

/// Compares the records with the other two accounts. `neighbours` are pids of
/// processes outside every session.
pub fn record(
    records: &[Record],
    run: &Run,
    stage: &Stage,
    agent: &str,
    neighbours: &[u32],
) -> anyhow::Result<Findings> {
    let mut findings = Findings::default();
    let starts: Vec<&Record> = records
        .iter()
        .filter(|one| one.session_start.is_some())
        .collect();
    let [start] = starts[..] else {
        let agents = starts.iter().filter_map(|one| one.session_start.as_ref());
        let agents: Vec<&str> = agents.map(|start| start.agent.as_str()).collect();
        findings
            .failures
            .push(format!("not one session but {}: {agents:?}", agents.len()));
        return Ok(findings);
    };
    let session = Session::new(records, start.session_id.as_deref().unwrap_or_default());
    let ordered = ordered(run)?;
    recognised(start, agent, &mut findings);
    membership(&session, records, run, neighbours, &mut findings);
    execs(&session, run, &mut findings.failures);
    tool_calls(&session, &ordered, &mut findings)?;
    files(&session, stage, &mut findings);
    deletes(&session, stage, &mut findings.failures)?;
    enforcement(&session, &mut findings.failures);
    Ok(findings)
}

fn recognised(start: &Record, agent: &str, findings: &mut Findings) {
    let Some(start) = &start.session_start else {
        return;
    };
    findings.rule.clone_from(&start.rule);
    if start.agent != agent {
        findings
            .failures
            .push(format!("recognised as {:?}, not {agent:?}", start.agent));
    }
    if start.rule.is_empty() || start.rule == "run" {
        findings
            .failures
            .push(format!("the rule is {:?}", start.rule));
    }
}

/// Checks that strace saw every process of the session under the agent.
fn membership(
    session: &Session,
    records: &[Record],
    run: &Run,
    neighbours: &[u32],
    findings: &mut Findings,
) {
    let pids: BTreeSet<u32> = session
        .records
        .iter()
        .filter_map(|record| pid(record))
        .collect();
    findings.processes = pids.len();
    let strangers: Vec<&u32> = pids.difference(&run.truth.tids).collect();
    if !strangers.is_empty() {
        findings
            .failures
            .push(format!("strace does not know the processes {strangers:?}"));
    }
    let root = BTreeSet::from([session.root]);
    let orphans: Vec<&u32> = pids
        .iter()
        .filter(|pid| !session.under(**pid, &root))
        .collect();
    if !orphans.is_empty() {
        findings
            .failures
            .push(format!("no forks lead from the agent to {orphans:?}"));
    }
    let recorded: BTreeSet<u32> = records.iter().filter_map(pid).collect();
    let wronged: Vec<&u32> = neighbours
        .iter()
        .filter(|pid| recorded.contains(pid))
        .collect();
    if !wronged.is_empty() {
        findings
            .failures
            .push(format!("neighbours were recorded: {wronged:?}"));
    }
}

/// Checks that each exec in strace's account is recorded once, and that no other is.
fn execs(session: &Session, run: &Run, failures: &mut Failures) {
    let mut missing: Vec<(u32, Vec<String>)> = run
        .truth
        .execs
        .iter()
        .map(|exec| (exec.pid, lossy(exec)))
        .collect();
    for (_, pid, exec) in session.execs() {
        let same = |(other, argv): &(u32, Vec<String>)| {
            *other == pid && same_argv(&exec.argv, exec.argv_truncated, argv)
        };
        match missing.iter().position(same) {
            Some(position) => drop(missing.remove(position)),
            None => failures.push(format!("strace saw no exec of {:?} by {pid}", exec.argv)),
        }
    }
    for (pid, argv) in missing {
        failures.push(format!("not recorded: the exec of {argv:?} by {pid}"));
    }
}

/// A cut argv agrees with the whole one as far as it goes.
fn same_argv(recorded: &[String], cut: bool, whole: &[String]) -> bool {
    if !cut {
        return recorded == whole;
    }
    let Some((last, first)) = recorded.split_last() else {
        return true;
    };
    let last = last.trim_end_matches(char::REPLACEMENT_CHARACTER);
    whole.starts_with(first)
        && whole
            .get(first.len())
            .is_some_and(|one| one.starts_with(last))
}

/// Each command that was ordered ran in the session, between its order and its answer.
fn tool_calls(
    session: &Session,
    ordered: &[Ordered],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for call in ordered {
        let Call::Shell { command } = call.call else {
            continue;
        };
        let mut execs = session
            .execs()
            .filter(|(_, _, exec)| runs(&exec.argv, command));
        let Some((first, _, _)) = execs.next() else {
            findings
                .failures
                .push(format!("not recorded: the tool call `{command}`"));
            continue;
        };
        findings.seen += 1;
        let time: Timestamp = first.time.parse().context("a record's time")?;
        if time < call.at || call.answered.is_some_and(|answered| time > answered) {
            findings.failures.push(format!(
                "`{command}` was recorded at {time}, out of its turn"
            ));
        }
    }
    let calls = session.calls(ordered);
    let (under, own): (Vec<_>, Vec<_>) = session
        .execs()
        .partition(|(_, pid, _)| session.under(*pid, &calls));
    findings.ordered_execs = under.len();
    findings.own_execs = own.len();
    Ok(())
}

/// The file read and the file written are recorded under their names.
fn files(session: &Session, stage: &Stage, findings: &mut Findings) {
    let mut expect = |what: &str, count: usize, path: &Path, ops: &[&str]| {
        let path = path.to_string_lossy();
        let on = |file: &FileRecord| {
            ops.contains(&file.op.as_str())
                && (file.path == path || file.new_path.as_deref() == Some(&*path))
        };
        if session.files().any(|(_, file)| on(file)) {
            findings.seen += count;
        } else {
            findings
                .failures
                .push(format!("not recorded: {what} of {path}"));
        }
    };
    expect("the read", 1, &stage.notes(), &["OPEN"]);
    // The script writes this file and then edits it.
    expect(
        "the making and editing",
        2,
        &stage.written(),
        &["CREATE", "RENAME"],
    );
    expect("the making", 0, &stage.sorted(), &["CREATE"]);
}

/// Checks that the files recorded as deleted are exactly those that are gone, and that
/// their number is the limit.
fn deletes(session: &Session, stage: &Stage, failures: &mut Failures) -> anyhow::Result<()> {
    let doomed = stage.doomed();
    let mut deleted = BTreeSet::new();
    for (_, file) in session.files().filter(|(_, file)| file.op == "DELETE") {
        let path = Path::new(&file.path);
        if path.starts_with(&doomed) && !deleted.insert(path) {
            failures.push(format!("{} is recorded as deleted twice", file.path));
        }
    }
    for path in &deleted {
        if path.exists() {
            failures.push(format!(
                "{} is recorded as deleted, and is there",
                path.display()
            ));
        }
    }
    let gone = stage.gone()?;
    if gone != deleted.len() {
        failures.push(format!(
            "{gone} files are gone, {} recorded as deleted",
            deleted.len()
        ));
    }
    // Files that the session created itself do not count.
    if gone != LIMIT {
        failures.push(format!("{gone} files are gone, not {LIMIT}"));
    }
    Ok(())
}

/// Checks that the session was stopped, and that its record says so.
fn enforcement(session: &Session, failures: &mut Failures) {
    let kills: Vec<_> = session
        .records
        .iter()
        .filter_map(|record| record.enforcement.as_ref())
        .filter(|enforcement| enforcement.action == "KILL")
        .collect();
    let [kill] = kills[..] else {
        failures.push(format!("{} kills are recorded, not one", kills.len()));
        return;
    };
    if kill.count < kill.limit || kill.limit != LIMIT as u64 || kill.survivors != 0 {
        failures.push(format!("strange enforcement: {kill:?}"));
    }
    if !kill.killed.contains(&session.root) {
        failures.push(format!(
            "the agent itself is not among the killed: {kill:?}"
        ));
    }
    let ends = session
        .records
        .iter()
        .filter_map(|record| record.session_end.as_ref());
    let reasons: Vec<&str> = ends.map(|end| end.reason.as_str()).collect();
    if reasons != ["KILLED"] {
        failures.push(format!("the session's end is {reasons:?}"));
    }
}
