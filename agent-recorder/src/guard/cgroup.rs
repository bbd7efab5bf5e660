//! Cgroups (v2) that have nobody in them but members of one session: these are
//! stopped and ended as a whole, with whoever is forked meanwhile.
//!
//! Not here: making one. Of version 1 only whether somebody froze one with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use agent_recorder_abi::state::SessionNumber;

use super::members::{self, Member};
use crate::bpf::Tags;

/// Cgroups below one that are looked through: a session with more of its own
/// is stopped process by process.
const MOST_BELOW: usize = 1024;

/// The session's own ones, each the topmost that one of its members is in.
///
/// Somebody who is put into such a cgroup between this and what follows, from
/// outside and while the session is being ended, shares its fate.
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
    // What is below one that is the session's is stopped with it.
    let mut own: BTreeSet<PathBuf> = BTreeSet::new();
    for path in paths {
        if !own.iter().any(|above| path.starts_with(above)) && is_own(&path) {
            own.insert(path);
        }
    }
    own
}

/// Whether a member is in one of these, or below.
pub(super) fn holds(cgroups: &BTreeSet<PathBuf>, member: &Member) -> bool {
    !cgroups.is_empty()
        && mount_point()
            .and_then(|root| directory_of(&root, member.pid))
            .is_some_and(|path| cgroups.iter().any(|above| path.starts_with(above)))
}

/// Ends everybody in it (Linux 5.14). Whether the kernel took it.
pub(super) fn kill(cgroup: &Path) -> bool {
    fs::write(cgroup.join("cgroup.kill"), "1").is_ok()
}

/// Stops everybody in it, without a signal (Linux 5.2). Whether the kernel took it.
pub(super) fn freeze(cgroup: &Path) -> bool {
    fs::write(cgroup.join("cgroup.freeze"), "1").is_ok()
}

/// Lets them go on; one that is gone needs no more.
pub(super) fn thaw(cgroup: &Path) {
    let _ = fs::write(cgroup.join("cgroup.freeze"), "0");
}

/// Whether somebody stopped it by version 1, whose processes no signal ends;
/// `listed` is its `/proc/PID/cgroup`.
pub(super) fn is_frozen(listed: &str) -> bool {
    let state = freezer_of(listed)
        .and_then(|(root, path)| fs::read_to_string(root.join(path).join(FREEZER_STATE)).ok());
    // `FREEZING` while not all of them have stopped.
    state.is_some_and(|state| state.starts_with("FR"))
}

/// Of version 2: what stops or ends a cgroup, and limits by which it comes to the same.
const SWITCHES: &[&str] = &[
    "cgroup.freeze",
    "cgroup.kill",
    "memory.max",
    "memory.high",
    "pids.max",
    "cpu.max",
];

/// The files by which this process is stopped, ended or starved with its whole
/// cgroup, or with one of those above.
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

/// Files of these names in a directory and all above it, but not in the root.
fn below(root: &Path, directory: &Path, names: &[&str]) -> Vec<PathBuf> {
    let directories = directory.ancestors().take_while(|it| *it != root);
    directories
        .flat_map(|directory| names.iter().map(move |name| directory.join(name)))
        .collect()
}

/// Where the hierarchy of version 1 that can stop is mounted, and where in it
/// somebody is, by `/proc/PID/cgroup`.
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

/// A controller of version 1.
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
    // EOPNOTSUPP for a threaded one: its processes can be elsewhere, too.
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

/// Where a process's cgroup is; `None` at the root, which is nobody's own.
fn directory_of(root: &Path, pid: u32) -> Option<PathBuf> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    // The process itself can have ended; then its number may be another's,
    // who is an outsider there.
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let is_below = !path.is_empty() && !path.split('/').any(|part| part == "..");
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    is_below.then(|| root.join(path))
}

/// Of the hierarchy of version 2 (proc_pid_mountinfo(5)).
fn mount_point() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mounts.lines().find_map(parse)
}

fn parse(line: &str) -> Option<PathBuf> {
    mounted(line, |kind| kind.starts_with("cgroup2 "))
}

/// Where a whole hierarchy is mounted, if the line is of that kind.
fn mounted(line: &str, is_it: impl Fn(&str) -> bool) -> Option<PathBuf> {
    let (about, kind) = line.split_once(" - ")?;
    let mut fields = about.split(' ').skip(3);
    let (inside, at) = (fields.next()?, fields.next()?);
    // A bind mount of a part shows other paths than /proc does.
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
