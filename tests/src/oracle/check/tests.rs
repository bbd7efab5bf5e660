//! Each check can fail: a correct run is spoiled in one way at a time.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::lab::model::log::{Entry, What};
use crate::oracle::strace::{Exec, Truth};

const AGENT: u32 = 100;
const SHELL: u32 = 101;
const NEIGHBOUR: u32 = 900;

/// The three accounts of one run.
struct Account {
    stage: Stage,
    run: Run,
    records: Vec<Value>,
}

impl Account {
    /// The agent read, wrote and deleted; a `make` and its own `git` ran.
    fn true_one() -> Self {
        let stage = Stage::new().unwrap();
        let make = format!("make -C {} all", stage.work().display());
        let remove = format!("rm -rf {}", stage.doomed().display());
        fs::write(stage.written(), "alpha\ngamma\n").unwrap();
        fs::write(stage.sorted(), "").unwrap();
        let shells = [
            ("bash", "-c", make.as_str()),
            ("bash", "-c", remove.as_str()),
        ];
        let mut records = vec![
            record(
                AGENT,
                json!({"sessionStart": {"agent": "a", "rule": "executable:a", "origin": "RULE"}}),
            ),
            record(AGENT, json!({"exec": {"argv": ["a"]}})),
            record(AGENT, json!({"fork": {"childPid": SHELL}})),
            file(AGENT, "OPEN", &stage.notes()),
            file(AGENT, "CREATE", &stage.written()),
            record(SHELL, json!({"exec": {"argv": shells[0]}})),
            file(SHELL, "CREATE", &stage.sorted()),
            record(SHELL, json!({"exec": {"argv": shells[1]}})),
        ];
        for entry in fs::read_dir(stage.doomed()).unwrap().take(LIMIT) {
            let path = entry.unwrap().path();
            fs::remove_file(&path).unwrap();
            records.push(file(SHELL, "DELETE", &path));
        }
        records.push(record(
            SHELL,
            json!({"enforcement": {
                "action": "KILL", "count": LIMIT, "limit": LIMIT, "killed": [AGENT, SHELL],
            }}),
        ));
        records.push(record(AGENT, json!({"sessionEnd": {"reason": "KILLED"}})));
        let bytes = |(a, b, c): (&str, &str, &str)| [a, b, c].map(|one| one.as_bytes().to_vec());
        let execs = vec![
            Exec {
                pid: AGENT,
                argv: vec![b"a".to_vec()],
            },
            Exec {
                pid: SHELL,
                argv: bytes(shells[0]).to_vec(),
            },
            Exec {
                pid: SHELL,
                argv: bytes(shells[1]).to_vec(),
            },
        ];
        let run = Run {
            truth: Truth {
                tids: BTreeSet::from([AGENT, SHELL]),
                execs,
            },
            log: vec![
                ordered_entry(0, make),
                result_entry(0),
                ordered_entry(1, remove),
            ],
            status: None,
            leftovers: 0,
            said: String::new(),
        };
        Self {
            stage,
            run,
            records,
        }
    }

    fn failures(&self) -> Failures {
        let records: Vec<Record> = self
            .records
            .iter()
            .map(|one| serde_json::from_value(one.clone()).unwrap())
            .collect();
        record_checks(&records, &self.run, &self.stage)
    }

    /// The first record that has this key.
    fn first(&mut self, key: &str) -> &mut Value {
        self.records
            .iter_mut()
            .find(|one| !one[key].is_null())
            .unwrap()
    }
}

fn record_checks(records: &[Record], run: &Run, stage: &Stage) -> Failures {
    super::record(records, run, stage, "a", &[NEIGHBOUR])
        .unwrap()
        .failures
}

fn record(pid: u32, mut body: Value) -> Value {
    body["sessionId"] = "s".into();
    body["time"] = "2026-01-01T00:00:02Z".into();
    body["process"] = json!({"pid": pid});
    body
}

fn file(pid: u32, op: &str, path: &Path) -> Value {
    record(pid, json!({"file": {"op": op, "path": path}}))
}

/// Orders precede the records' one time, and results follow it.
const ORDERED_NS: u64 = 1_767_225_601_000_000_000;
const ANSWERED_NS: u64 = 1_767_225_603_000_000_000;

fn ordered_entry(index: usize, command: String) -> Entry {
    let call = Call::Shell { command };
    let what = What::Ordered {
        index,
        id: String::new(),
        call,
        tool: String::new(),
        input: Value::Null,
    };
    Entry {
        time_ns: ORDERED_NS,
        what,
    }
}

fn result_entry(index: usize) -> Entry {
    let what = What::Result {
        index,
        text: String::new(),
    };
    Entry {
        time_ns: ANSWERED_NS,
        what,
    }
}

#[test]
fn three_accounts_that_agree_have_no_failures() {
    assert_eq!(Account::true_one().failures(), Failures::new());
}

/// Spoils one thing, and expects a failure that says `sentence`.
fn spoiled(sentence: &str, spoil: impl FnOnce(&mut Account)) {
    let mut account = Account::true_one();
    spoil(&mut account);
    let failures = account.failures();
    assert!(
        failures.iter().any(|one| one.contains(sentence)),
        "{sentence}: {failures:?}"
    );
}

#[test]
fn a_missing_an_invented_and_a_changed_exec_are_each_found() {
    spoiled("not recorded: the exec", |account| {
        account.first("exec")["exec"]["error"] = "ENOENT".into();
    });
    spoiled("strace saw no exec", |account| {
        account
            .records
            .push(record(SHELL, json!({"exec": {"argv": ["x"]}})));
    });
    spoiled("strace saw no exec", |account| {
        account.first("exec")["exec"]["argv"] = json!(["a", "-b"]);
    });
}

#[test]
fn a_process_that_does_not_belong_is_found() {
    spoiled("strace does not know", |account| {
        account.records.push(record(500, json!({})));
    });
    spoiled("no forks lead", |account| {
        account.run.truth.tids.insert(500);
        account.records.push(record(500, json!({})));
    });
    spoiled("neighbours were recorded", |account| {
        account.records.push(record(NEIGHBOUR, json!({})));
    });
}

#[test]
fn a_wrong_agent_and_a_second_session_are_found() {
    spoiled("recognised as", |account| {
        account.first("sessionStart")["sessionStart"]["agent"] = "b".into();
    });
    spoiled("not one session but 2", |account| {
        let start = account.records[0].clone();
        account.records.push(start);
    });
}

#[test]
fn a_tool_call_that_ran_out_of_its_turn_is_found() {
    spoiled("out of its turn", |account| {
        account.run.log[0].time_ns = ANSWERED_NS
    });
    spoiled("out of its turn", |account| {
        account.run.log[1].time_ns = ORDERED_NS
    });
}

#[test]
fn deletes_are_compared_with_the_disk_and_with_the_limit() {
    spoiled("and is there", |account| {
        let path = account.stage.doomed().join("back");
        fs::write(&path, "").unwrap();
        account.records.push(file(SHELL, "DELETE", &path));
    });
    spoiled("65 files are gone, 64 recorded", |account| {
        let entry = fs::read_dir(account.stage.doomed())
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        fs::remove_file(entry.path()).unwrap();
    });
    // One file too many is recorded and gone.
    spoiled("65 files are gone, not 64", |account| {
        let entry = fs::read_dir(account.stage.doomed())
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        fs::remove_file(entry.path()).unwrap();
        account.records.push(file(SHELL, "DELETE", &entry.path()));
    });
    // This check ignores deletes elsewhere.
    let mut account = Account::true_one();
    account
        .records
        .push(file(AGENT, "DELETE", Path::new("/tmp/other")));
    assert_eq!(account.failures(), Failures::new());
}

#[test]
fn a_stop_that_was_not_or_was_not_whole_is_found() {
    spoiled("0 kills are recorded", |account| {
        account.first("enforcement")["enforcement"]["action"] = "ALERT".into();
    });
    spoiled("strange enforcement", |account| {
        account.first("enforcement")["enforcement"]["survivors"] = 1.into();
    });
    spoiled("the session's end", |account| {
        account.first("sessionEnd")["sessionEnd"]["reason"] = "EXITED".into();
    });
}
