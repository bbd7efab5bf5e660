//! The reason why a killed process still exists, from `/proc`.

use std::fs;

use super::cgroup;
use crate::record::proto::{Survivor, SurvivorReason};

/// `PF_EXITING` (include/linux/sched.h): the process is inside exit(2).
const PF_EXITING: u64 = 4;
/// Index of `flags` among the fields after the name (proc_pid_stat(5)).
const FLAGS: usize = 6;

/// The survivor; `None` when it has ended after all.
pub(super) fn examine(pid: u32) -> Option<Survivor> {
    let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}"));
    let status = of("status").ok()?;
    let field = |name| field(&status, name);
    let state = field("State")?.chars().next()?;
    let is_ending = of("stat").is_ok_and(|stat| flags(&stat) & PF_EXITING != 0);
    let reason = if state == 'Z' {
        // The main thread has ended, and other threads have not. Their states are not
        // read.
        SurvivorReason::Dying
    } else if of("cgroup").is_ok_and(|text| cgroup::is_frozen(&text)) {
        SurvivorReason::Frozen
    } else if field("TracerPid").is_some_and(|tracer| tracer != "0") {
        SurvivorReason::Traced
    } else if is_ending {
        SurvivorReason::Dying
    } else {
        match state {
            'D' => SurvivorReason::Uninterruptible,
            'T' | 't' => SurvivorReason::Stopped,
            _ => SurvivorReason::Unspecified,
        }
    };
    // `NSpid` lists the pids from the outer namespaces to the process's own
    // (proc_pid_status(5)).
    let inner = field("NSpid")
        .and_then(|numbers| numbers.split_whitespace().skip(1).last())
        .and_then(|number| number.parse().ok());
    Some(Survivor {
        pid,
        reason: reason.into(),
        namespace_pid: inner.unwrap_or(0),
        state: state.to_string(),
    })
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = status.lines();
    lines.find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
}

fn flags(stat: &str) -> u64 {
    let after_name = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    let flags = after_name.split(' ').nth(FLAGS);
    flags.and_then(|flags| flags.parse().ok()).unwrap_or(0)
}
