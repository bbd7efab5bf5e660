//! Processes as /proc shows them: their descent, and the agents among them.
//!
//! Not here: the members of a session (`guard::tagged`).

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use agent_recorder_abi::event::Header;

use crate::session::agents::RuleSet;

/// A process and all its present descendants.
pub(super) fn with_descendants(pid: u32) -> Vec<u32> {
    let parents = processes();
    let is_below = |of: &u32| ancestors(*of, &parents).any(|ancestor| ancestor == pid);
    parents.keys().copied().filter(is_below).collect()
}

/// Process → parent, for all processes.
pub(super) fn processes() -> HashMap<u32, u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return HashMap::new();
    };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let parent = status
                .lines()
                .find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())?;
            Some((pid, parent))
        })
        .collect()
}

/// A process and its ancestors, the process first. A loop of stale entries ends the
/// list.
pub(super) fn ancestors(pid: u32, parents: &HashMap<u32, u32>) -> impl Iterator<Item = u32> {
    let mut seen = BTreeSet::new();
    std::iter::successors(Some(pid), |pid| parents.get(pid).copied())
        .take_while(move |pid| *pid != 0 && seen.insert(*pid))
}

/// Whether the process with the header's pid is still that of the header:
/// /proc/PID/stat has its start in ticks (proc_pid_stat(5)).
pub(super) fn is_that_process(header: &Header) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{}/stat", header.pid)) else {
        return false;
    };
    // The name is in parentheses, and may contain any character.
    let after = stat.rsplit_once(") ").map(|(_, after)| after);
    let start: Option<u64> = after.and_then(|after| after.split(' ').nth(19)?.parse().ok());
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    start == Some(header.start_time / tick)
}

/// The number of the agent rule that a process matches; `None` where it matches none.
pub(super) fn match_process(rules: &RuleSet, pid: u32) -> Option<u32> {
    let read = |name: &str| std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    let exe: PathBuf = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let (cmdline, environ) = (read("cmdline"), read("environ"));
    let argv: Vec<&[u8]> = split(&cmdline);
    rules.match_program(exe.as_os_str().as_encoded_bytes(), &argv, &split(&environ))
}

fn split(strings: &[u8]) -> Vec<&[u8]> {
    let strings = strings.strip_suffix(b"\0").unwrap_or(strings);
    strings.split(|&byte| byte == 0).collect()
}
