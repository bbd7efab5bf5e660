//! Compares two accounts of one run, both ways and in order.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::account;
use super::act::{Act, Deed};
use super::truth::Truth;

/// Both ways: acts that only strace saw, then acts that only the records have.
///
/// # Errors
///
/// Records were lost, or one has an unknown form.
pub fn differences(truth: &Truth, records: &[Value]) -> anyhow::Result<Vec<String>> {
    let mut acts = Vec::new();
    for record in records {
        ensure!(record.get("loss").is_none(), "records were lost: {record}");
        acts.extend(account::act(record).with_context(|| format!("understand {record}"))?);
    }
    // The two rings are drained one after the other.
    acts.sort_by_key(|(time, _)| *time);
    let acts: Vec<Act> = acts.into_iter().map(|(_, act)| act).collect();
    let mut differences = Vec::new();
    let recorded = without_strace(truth, acts, &mut differences)?;
    let mut counts: BTreeMap<&Act, i64> = BTreeMap::new();
    for act in &recorded {
        *counts.entry(act).or_default() += 1;
    }
    // Acts with one candidate are matched first, before another can take it.
    let (certain, others): (Vec<_>, Vec<_>) = truth
        .expected
        .iter()
        .partition(|expected| expected.candidates.len() == 1);
    for expected in certain.into_iter().chain(others) {
        let left = |act: &&Act| counts.get(act).is_some_and(|count| *count > 0);
        let exact = expected.candidates.iter().find(left);
        let found = exact.or_else(|| {
            let mut alike = counts.iter().filter(|(_, count)| **count > 0);
            let is_one = |act: &Act| expected.candidates.iter().any(|one| one.is(act));
            Some(*alike.find(|(act, _)| is_one(act))?.0)
        });
        match found.and_then(|act| counts.get_mut(act)) {
            Some(count) => *count -= 1,
            None => differences.push(format!("not recorded: {:?}", expected.candidates[0])),
        }
    }
    for (act, count) in counts.iter().filter(|(_, count)| **count > 0) {
        differences.push(format!("not seen by strace, {count} ×: {act:?}"));
    }
    if differences.is_empty() {
        differences = disorder(truth, &recorded);
    }
    Ok(differences)
}

/// Threads whose acts were recorded in another order. Left out: opens for reading by
/// several threads, of which any may count, and sockets, whose outcomes come late.
fn disorder(truth: &Truth, recorded: &[Act]) -> Vec<String> {
    let shared: BTreeSet<&Act> = truth
        .expected
        .iter()
        .filter(|expected| {
            expected
                .candidates
                .windows(2)
                .any(|two| two[0].tid != two[1].tid)
        })
        .flat_map(|expected| &expected.candidates)
        .collect();
    let counts = |act: &&Act| !matches!(act.deed, Deed::Network(_)) && !shared.contains(*act);
    let firsts = truth
        .expected
        .iter()
        .map(|expected| &expected.candidates[0]);
    let seen = by_thread(firsts.filter(counts));
    let told = by_thread(recorded.iter().filter(counts));
    let mut disorder = Vec::new();
    for (thread, seen) in seen {
        let told = told.get(&thread).map_or(&[][..], Vec::as_slice);
        let other = seen.iter().zip(told).find(|(seen, told)| seen != told);
        if let Some((seen, told)) = other {
            disorder.push(format!("in another order: {told:?} before {seen:?}"));
        }
    }
    disorder
}

fn by_thread<'a>(acts: impl Iterator<Item = &'a Act>) -> BTreeMap<Option<u32>, Vec<&'a Act>> {
    let mut threads: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for act in acts.filter(|act| act.tid.is_some()) {
        threads.entry(act.tid).or_default().push(act);
    }
    threads
}

/// Acts by which strace's children try the kernel: failing calls, and their end.
fn is_a_try(deed: &Deed) -> bool {
    match deed {
        Deed::Exit { .. } => true,
        Deed::File(file) => file.error.is_some(),
        _ => false,
    }
}

/// Leaves out strace's own acts: those of its process, of children that try the kernel,
/// and of the child that becomes the program, up to its exec. Any other process that
/// strace does not know is a difference.
fn without_strace(
    truth: &Truth,
    acts: Vec<Act>,
    differences: &mut Vec<String>,
) -> anyhow::Result<Vec<Act>> {
    let strace = acts
        .iter()
        .find(|act| matches!(act.deed, Deed::Exec { error: None, .. }))
        .context("no exec was recorded")?
        .pid;
    let children: BTreeSet<u32> = acts
        .iter()
        .filter_map(|act| match act.deed {
            Deed::Fork { child, .. } if act.pid == strace => Some(child),
            _ => None,
        })
        .collect();
    ensure!(children.contains(&truth.root), "strace's child is unknown");
    let mut is_program = false;
    let mut kept = Vec::new();
    for act in acts {
        is_program |= act.pid == truth.root && matches!(act.deed, Deed::Exec { .. });
        if truth.pids.contains(&act.pid) {
            if act.pid != truth.root || is_program {
                kept.push(act);
            }
        } else if act.pid != strace && !(children.contains(&act.pid) && is_a_try(&act.deed)) {
            differences.push(format!("of a process that strace did not see: {act:?}"));
        }
    }
    Ok(kept)
}
