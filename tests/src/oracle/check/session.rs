//! A session's records and the model's log, in the form that the checks need.
//!
//! Not here: the checks themselves (`check`).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use jiff::Timestamp;

use crate::lab::agents::stage::Run;
use crate::lab::daemon::{self, FileRecord, Record};
use crate::lab::model::Call;
use crate::lab::model::log::What;
use crate::oracle::strace;

/// A call that the model ordered, and when.
pub(super) struct Ordered<'a> {
    pub(super) call: &'a Call,
    pub(super) at: Timestamp,
    /// Absent where the agent ended before it answered.
    pub(super) answered: Option<Timestamp>,
}

pub(super) fn ordered(run: &Run) -> anyhow::Result<Vec<Ordered<'_>>> {
    let at = |time_ns: u64| Timestamp::from_nanosecond(time_ns.into()).context("a time in the log");
    let mut calls = Vec::new();
    for entry in &run.log {
        if let What::Ordered { index, call, .. } = &entry.what {
            let answer = run.log.iter().find(
                |entry| matches!(&entry.what, What::Result { index: other, .. } if other == index),
            );
            calls.push(Ordered {
                call,
                at: at(entry.time_ns)?,
                answered: answer.map(|entry| at(entry.time_ns)).transpose()?,
            });
        }
    }
    Ok(calls)
}

/// A text without the quotes of arguments, which each client sets in its own way.
pub(super) fn bare(text: &str) -> String {
    text.replace(['\'', '"', '\\'], "")
}

pub(super) fn runs(argv: &[String], command: &str) -> bool {
    bare(&argv.join(" ")).contains(&bare(command))
}

pub(super) fn lossy(exec: &strace::Exec) -> Vec<String> {
    let text = |argument: &Vec<u8>| String::from_utf8_lossy(argument).into_owned();
    exec.argv.iter().map(text).collect()
}

/// The records of one session, prepared for the checks.
pub(super) struct Session<'a> {
    pub(super) records: Vec<&'a Record>,
    pub(super) parents: BTreeMap<u32, u32>,
    pub(super) root: u32,
}

impl<'a> Session<'a> {
    pub(super) fn new(records: &'a [Record], id: &str) -> Self {
        let of = |record: &&Record| record.session_id.as_deref() == Some(id);
        let records: Vec<&Record> = records.iter().filter(of).collect();
        let fork = |record: &&Record| Some((record.fork.as_ref()?.child_pid, pid(record)?));
        let start = records.iter().find(|record| record.session_start.is_some());
        Self {
            parents: records.iter().filter_map(fork).collect(),
            root: start.and_then(|record| pid(record)).unwrap_or_default(),
            records,
        }
    }

    /// Whether one of `ancestors` is `pid`, or it descends from one.
    pub(super) fn under(&self, pid: u32, ancestors: &BTreeSet<u32>) -> bool {
        let mut seen = BTreeSet::new();
        let mut pid = Some(pid);
        while let Some(at) = pid {
            if ancestors.contains(&at) {
                return true;
            }
            pid = if seen.insert(at) {
                self.parents.get(&at).copied()
            } else {
                None
            };
        }
        false
    }

    /// Successful execs.
    pub(super) fn execs(&self) -> impl Iterator<Item = (&'a Record, u32, &'a daemon::Exec)> {
        self.records.iter().filter_map(|record| {
            let exec = record.exec.as_ref().filter(|exec| exec.error.is_none())?;
            Some((*record, pid(record)?, exec))
        })
    }

    /// Successful operations on files.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'a Record, &'a FileRecord)> {
        self.records.iter().filter_map(|record| {
            let file = record.file.as_ref().filter(|file| file.error.is_none())?;
            Some((*record, file))
        })
    }

    /// Processes that a shell tool call became, and those it started.
    pub(super) fn calls(&self, ordered: &[Ordered]) -> BTreeSet<u32> {
        let command = |call: &Ordered| match call.call {
            Call::Shell { command } => Some(command.clone()),
            _ => None,
        };
        let commands: Vec<String> = ordered.iter().filter_map(command).collect();
        self.execs()
            .filter(|(_, _, exec)| commands.iter().any(|command| runs(&exec.argv, command)))
            .map(|(_, pid, _)| pid)
            .collect()
    }
}

pub(super) fn pid(record: &Record) -> Option<u32> {
    record.process.as_ref().map(|process| process.pid)
}
