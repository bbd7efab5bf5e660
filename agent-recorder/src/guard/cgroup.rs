//! Cgroups (v2) whose processes are all members of one session: these are frozen and
//! killed as a whole, including children that are forked meanwhile.
//!
//! Not here: creating a cgroup. Of version 1 this module reads only whether a cgroup
//! is frozen.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use agent_recorder_abi::state::SessionNumber;

use super::members::{self, Member};
use crate::bpf::Tags;

/// Most descendants of a cgroup that are read. A session whose cgroup has more is
/// stopped process by process.
const MOST_BELOW: usize = 1024;

/// The session's own cgroups: for each member the topmost one without an outsider.
///
/// A process that is moved into such a cgroup from outside afterwards, while the
/// session is being ended, is ended with it.
pub(super) fn own(tags: &Tags, session: SessionNumber, members: &[Member]) -> BTreeSet<PathBuf> {
    let Some(root) = mount_point() else {
        return BTreeSet::new();
    };
    let paths: BTreeSet<PathBuf> = members
        .iter()
        .filter_map(|member| directory_of(&root, member.pid))
        .collect();
    let is_own = |path: &Path| {
        let mut looked_at = 0;
        has_no_outsider(tags, session, path, &mut looked_at)
    };
    // A cgroup below one of the session's is stopped with it.
    let mut own: BTreeSet<PathBuf> = BTreeSet::new();
    for path in paths {
        if !own.iter().any(|above| path.starts_with(above)) && is_own(&path) {
            own.insert(path);
        }
    }
    own
}

/// Whether a member is in one of these cgroups, or below one.
pub(super) fn holds(cgroups: &BTreeSet<PathBuf>, member: &Member) -> bool {
    !cgroups.is_empty()
        && mount_point()
            .and_then(|root| directory_of(&root, member.pid))
            .is_some_and(|path| cgroups.iter().any(|above| path.starts_with(above)))
}

/// Kills every process in the cgroup (cgroup.kill, Linux 5.14). Whether the kernel
/// did it.
pub(super) fn kill(cgroup: &Path) -> bool {
    fs::write(cgroup.join("cgroup.kill"), "1").is_ok()
}

/// Freezes every process in the cgroup without a signal (cgroup.freeze, Linux 5.2).
/// Whether the kernel did it.
pub(super) fn freeze(cgroup: &Path) -> bool {
    fs::write(cgroup.join("cgroup.freeze"), "1").is_ok()
}

/// Thaws the cgroup, if it still exists.
pub(super) fn thaw(cgroup: &Path) {
    let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
}

/// Whether the process's cgroup of version 1 is frozen: no signal ends a process in
/// it. `listed` is its `/proc/PID/cgroup`.
pub(super) fn is_frozen(listed: &str) -> bool {
    let state = freezer_of(listed)
        .and_then(|(root, path)| fs::read_to_string(root.join(path).join(FREEZER_STATE)).ok());
    // The state is `FREEZING` until all processes have stopped, then `FROZEN`.
    state.is_some_and(|state| state.starts_with("FR"))
}

/// Files of version 2 that freeze or kill a cgroup, and limits with the same effect.
const SWITCHES: &[&str] = &[
    "cgroup.freeze",
    "cgroup.kill",
    "memory.max",
    "memory.high",
    "pids.max",
    "cpu.max",
];

/// The files by which this process can be frozen, killed or starved with its cgroup,
/// or with a cgroup above.
pub fn switches() -> Vec<PathBuf> {
    let unified = mount_point()
        .and_then(|root| {
            let directory = directory_of(&root, std::process::id())?;
            Some((root, directory))
        })
        .map(|(root, directory)| below(&root, &directory, SWITCHES));
    let listed = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let freezer =
        freezer_of(&listed).map(|(root, path)| below(&root, &root.join(path), &[FREEZER_STATE]));
    let all = unified.into_iter().chain(freezer).flatten();
    all.filter(|switch| switch.exists()).collect()
}

/// Files of these names in a directory and its parents, except in the root.
fn below(root: &Path, directory: &Path, names: &[&str]) -> Vec<PathBuf> {
    let directories = directory.ancestors().take_while(|it| *it != root);
    directories
        .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
        .collect()
}

/// The mount point of the freezer hierarchy of version 1, and the process's cgroup in
/// it, by `/proc/PID/cgroup`.
fn freezer_of(listed: &str) -> Option<(PathBuf, &str)> {
    let path = listed.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
        controllers
            .split(',')
            .any(|it| it == FREEZER)
            .then_some(path)
    })?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let root = mounts.lines().find_map(|line| {
        let is_freezer = |kind: &str| {
            kind.starts_with("cgroup ") && kind.split([' ', ',']).any(|it| it == FREEZER)
        };
        mounted(line, is_freezer)
    })?;
    Some((root, path))
}

/// The controller's name in version 1.
const FREEZER: &str = "freezer";
const FREEZER_STATE: &str = "freezer.state";

fn has_no_outsider(
    tags: &Tags,
    session: SessionNumber,
    cgroup: &Path,
    looked_at: &mut usize,
) -> bool {
    *looked_at += 1;
    if *looked_at > MOST_BELOW {
        return false;
    }
    // A threaded cgroup fails with EOPNOTSUPP: its processes can have threads
    // elsewhere.
    let Ok(listed) = fs::read_to_string(cgroup.join("cgroup.procs")) else {
        return false;
    };
    let Ok(entries) = fs::read_dir(cgroup) else {
        return false;
    };
    let has_outsider = listed
        .lines()
        .filter_map(|pid| pid.parse().ok())
        .any(|pid| members::is_outsider(tags, session, pid));
    let mut below = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    !has_outsider && below.all(|entry| has_no_outsider(tags, session, &entry.path(), looked_at))
}

/// The directory of a process's cgroup; `None` for the root cgroup, which belongs to
/// no session.
fn directory_of(root: &Path, pid: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    // The process can have ended, and its pid can belong to another process, which
    // then counts as an outsider.
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let is_below = !path.is_empty() && !path.split('/').any(|part| part == "..");
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    is_below.then(|| root.join(path))
}

/// The mount point of the hierarchy of version 2 (proc_pid_mountinfo(5)).
fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(parse)
}

fn parse(line: &str) -> Option<PathBuf> {
    mounted(line, |kind| kind.starts_with("cgroup2 "))
}

/// The mount point of a whole hierarchy, if the line is one of that kind.
fn mounted(line: &str, is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let (about, kind) = line.split_once(" - ")?;
    let mut fields = about.split(' ').skip(3);
    let (inside, at) = (fields.next()?, fields.next()?);
    // A bind mount of a part has other paths than /proc.
    (is_it(kind) && inside == "/").then(|| at.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_stopped_by_its_cgroup_and_those_above_but_the_root() {
        let root = Path::new("/sys/fs/cgroup");
        assert_eq!(
            below(root, &root.join("a/b"), &["cgroup.kill"]),
            [
                "/sys/fs/cgroup/a/b/cgroup.kill",
                "/sys/fs/cgroup/a/cgroup.kill"
            ]
            .map(PathBuf::from)
        );
        assert!(below(root, root, &["cgroup.kill"]).is_empty());
    }

    #[test]
    fn the_hierarchy_of_version_2_is_found_among_mounts() {
        let of = |line| parse(line);
        assert_eq!(
            of("42 32 0:26 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw"),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            of("43 32 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"),
            None
        );
        assert_eq!(of("44 32 0:26 /part /mnt rw - cgroup2 cgroup2 rw"), None);
        assert_eq!(of(""), None);
    }
}
