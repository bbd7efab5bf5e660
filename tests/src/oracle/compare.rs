//! Compares two multisets of operations: done and not recorded, recorded and not
//! done.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::oracle::tally;

/// The fields of a line about its process.
const PROCESS: [&str; 3] = ["pid", "tid", "ppid"];

/// Parses the output of a stimulus.
///
/// # Errors
///
/// A line is not JSON.
pub fn said(stdout: &[u8]) -> anyhow::Result<Vec<Value>> {
    stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Ok(serde_json::from_slice(line)?))
        .collect()
}

/// File records under a directory, in the form of stimulus programs.
pub fn files_under(records: &[Value], directory: &str) -> Vec<Value> {
    let inside = |file: &Value, name: &str| {
        file.get(name)
            .and_then(Value::as_str)
            .is_some_and(|path| path.starts_with(directory))
    };
    of_kinds(records, &["file"])
        .into_iter()
        .filter(|line| inside(&line["file"], "path") || inside(&line["file"], "newPath"))
        .collect()
}

/// Whether the profile sees the objects of operations, and not only the arguments of
/// callers.
pub fn sees_objects(records: &[Value]) -> bool {
    records.iter().any(|record| {
        let profile = &record["sessionStart"]["profile"];
        profile == "lsm" || profile == "fentry"
    })
}

/// Records of these kinds, in the form of stimulus programs.
pub fn of_kinds(records: &[Value], kinds: &[&str]) -> Vec<Value> {
    records
        .iter()
        .filter_map(|record| {
            let kind = kinds.iter().find(|kind| record.get(**kind).is_some())?;
            let process = record.get("process")?;
            let mut line = Map::new();
            for name in PROCESS {
                line.insert(name.to_owned(), process.get(name)?.clone());
            }
            line.insert((*kind).to_owned(), record.get(*kind)?.clone());
            Some(line.into())
        })
        .collect()
}

/// The enforcement records of a session.
pub fn enforcements(records: &[Value]) -> Vec<&Value> {
    let told = records.iter().filter_map(|it| it.get("enforcement"));
    told.collect()
}

/// The only enforcement record of a session.
///
/// # Errors
///
/// There is none, or more than one.
pub fn enforcement(records: &[Value]) -> anyhow::Result<&Value> {
    let told = enforcements(records);
    anyhow::ensure!(told.len() == 1, "not one enforcement: {told:#?}");
    Ok(told[0])
}

/// The kind of a line, and the fields that it states.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape {
    process: Vec<&'static str>,
    kind: String,
    fields: BTreeSet<String>,
}

impl Shape {
    fn of(line: &Value) -> Self {
        let (kind, fields) = line
            .as_object()
            .and_then(|line| {
                line.iter()
                    .find(|(name, _)| !PROCESS.contains(&name.as_str()))
            })
            .map(|(kind, fields)| (kind.clone(), fields.as_object()))
            .unwrap_or_default();
        let mut fields: BTreeSet<String> = fields
            .map(|fields| fields.keys().cloned().collect())
            .unwrap_or_default();
        // A line without an error states that there was none.
        fields.insert("error".to_owned());
        let process = PROCESS
            .into_iter()
            .filter(|name| line.get(name).is_some())
            .collect();
        Self {
            process,
            kind,
            fields,
        }
    }

    /// The common part of two lines about the same operation; `None` for another
    /// kind.
    fn key(&self, line: &Value) -> Option<String> {
        let fields = line.get(&self.kind)?;
        let mut parts = vec![self.kind.clone()];
        for name in &self.process {
            parts.push(format!("{name}={}", line.get(name).unwrap_or(&Value::Null)));
        }
        for name in &self.fields {
            let value = fields.get(name).unwrap_or(&Value::Null);
            parts.push(format!("{name}={value}"));
        }
        Some(parts.join(" "))
    }
}

/// How two multisets of operations differ, as readable lines.
#[derive(Debug, Default)]
pub struct Differences {
    /// Done and not recorded, with counts.
    pub missing: BTreeMap<String, usize>,
    /// Recorded and not done.
    pub spurious: Vec<String>,
}

impl Differences {
    fn is_none(&self) -> bool {
        self.missing.is_empty() && self.spurious.is_empty()
    }
}

/// Operations that only one of the two lists has.
///
/// A field that a stimulus leaves out is not compared.
pub fn differences(done: &[Value], recorded: &[Value]) -> Differences {
    let mut missing: BTreeMap<String, usize> = BTreeMap::new();
    let mut shapes = BTreeSet::new();
    for line in done {
        let shape = Shape::of(line);
        if let Some(key) = shape.key(line) {
            *missing.entry(key).or_default() += 1;
        }
        shapes.insert(shape);
    }
    // Lines with more fields are matched first.
    let mut shapes: Vec<Shape> = shapes.into_iter().collect();
    shapes.sort_by_key(|shape| std::cmp::Reverse(shape.fields.len()));
    let mut spurious = Vec::new();
    for line in recorded {
        let key = shapes
            .iter()
            .filter_map(|shape| shape.key(line))
            .find(|key| missing.contains_key(key));
        let Some(key) = key else {
            spurious.push(line.to_string());
            continue;
        };
        if let Some(count) = missing.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                missing.remove(&key);
            }
        }
    }
    Differences { missing, spurious }
}

/// Fails with both lists unless what was recorded is what was done.
///
/// # Errors
///
/// They differ, nothing was done, or the tally cannot be kept.
pub fn same(done: &[Value], recorded: &[Value]) -> anyhow::Result<()> {
    same_or_told(done, recorded, &[])
}

/// Most operations that may be missing because the kernel skipped programs, in
/// thousandths: more is a defect, whatever the recorder reports.
const SKIPPED_AT_MOST: usize = 5;

/// As [`same`], but where the kernel can skip a program (Linux 7 preempts them) a few
/// operations may be missing if `records` report that loss.
///
/// # Errors
///
/// As for [`same`].
pub fn same_or_told(done: &[Value], recorded: &[Value], records: &[Value]) -> anyhow::Result<()> {
    anyhow::ensure!(!done.is_empty(), "the stimulus says nothing");
    let differences = differences(done, recorded);
    tally::compared(done.len(), recorded.len(), differences.spurious.len())?;
    if differences.is_none() {
        return Ok(());
    }
    let missing: usize = differences.missing.values().sum();
    let skipped = skipped(records);
    if differences.spurious.is_empty() && is_forgiven(missing, done.len(), records) {
        println!(
            "{missing} missing, {skipped} told as lost: {:?}",
            differences.missing
        );
        return Ok(());
    }
    let lines: Vec<_> = differences
        .missing
        .iter()
        .map(|(key, count)| format!("{count} × {key}"))
        .collect();
    anyhow::bail!(
        "of {} done and {} recorded, {skipped} told as lost\nmissing:\n{}\nspurious:\n{}",
        done.len(),
        recorded.len(),
        lines.join("\n"),
        differences.spurious.join("\n")
    )
}

/// Whether so many operations may be missing: few, and no more than `records` report
/// as skipped.
pub fn is_forgiven(missing: usize, done: usize, records: &[Value]) -> bool {
    let is_told = u64::try_from(missing).is_ok_and(|missing| missing <= skipped(records));
    is_told && missing * 1000 <= done * SKIPPED_AT_MOST
}

/// The first kernel whose tracepoints can be preempted, so that it skips programs.
const SKIPS_SINCE: (u32, u32) = (7, 0);

/// Whether these records report a loss, and only one of programs that the kernel
/// skipped.
///
/// # Errors
///
/// The kernel's release has no version number.
pub fn lost_by_skipping(records: &[Value]) -> anyhow::Result<bool> {
    let losses: Vec<_> = records.iter().filter_map(|it| it.get("loss")).collect();
    let is_skipped = losses.iter().all(|loss| loss["stage"] == "preempted");
    Ok(!losses.is_empty() && is_skipped && kernel()? >= SKIPS_SINCE)
}

/// The running kernel's version.
///
/// # Errors
///
/// The release has no version number.
pub fn kernel() -> anyhow::Result<(u32, u32)> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']);
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    next().zip(next()).context("a kernel without a number")
}

/// How often the kernel skipped a program, by the loss records.
fn skipped(records: &[Value]) -> u64 {
    records
        .iter()
        .map(|record| &record["loss"])
        .filter(|loss| loss["stage"] == "preempted")
        .filter_map(|loss| loss["count"].as_u64())
        .sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(numbers: std::ops::Range<u32>) -> Vec<Value> {
        numbers
            .map(|number| json!({ "file": { "op": "DELETE", "path": number.to_string() } }))
            .collect()
    }

    #[test]
    fn what_is_missing_is_forgiven_only_where_so_much_is_told_as_skipped() {
        let (done, recorded) = (lines(0..1000), lines(2..1000));
        let told =
            |stage: &str, count: u32| [json!({ "loss": { "stage": stage, "count": count } })];
        assert!(same_or_told(&done, &recorded, &told("preempted", 2)).is_ok());
        assert!(same_or_told(&done, &recorded, &told("preempted", 1)).is_err());
        assert!(same_or_told(&done, &recorded, &told("ring", 2)).is_err());
        assert!(same(&done, &recorded).is_err());
        assert!(same_or_told(&done, &lines(9..1000), &told("preempted", 100)).is_err());
        assert!(same_or_told(&recorded, &done, &told("preempted", 100)).is_err());
    }
}
