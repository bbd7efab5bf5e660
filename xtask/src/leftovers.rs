//! Objects that tests could leave behind on a machine: kernel programs and links,
//! pins, mounts, network namespaces, cgroups. They are listed before and after; a new
//! one fails the run.
//!
//! The kernel's objects have no owner, so two test runs on one machine would blame
//! each other. A program held by a process whose executable is outside this workspace
//! is therefore ignored.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::step::{self, say};
use crate::workspace;

/// Longest wait for objects to go: the kernel frees programs after a grace period,
/// and sockets after their timers.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);
/// Directory of ip-netns(8).
const NETWORK_NAMESPACES: &str = "/run/netns";

/// The objects at one moment.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    things: BTreeSet<Thing>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Thing {
    Program { id: u32, name: String },
    Link { id: u32, program: u32 },
    Pin(PathBuf),
    Mount(String),
    NetworkNamespace(String),
    Cgroup(PathBuf),
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program { id, name } => write!(f, "BPF program {id} ({name})"),
            Self::Link { id, program } => write!(f, "BPF link {id} (of program {program})"),
            Self::Pin(path) => write!(f, "pin {}", path.display()),
            Self::Mount(place) => write!(f, "mount on {place}"),
            Self::NetworkNamespace(name) => write!(f, "network namespace {name}"),
            Self::Cgroup(path) => write!(f, "cgroup {}", path.display()),
        }
    }
}

/// Prints a snapshot for [`Snapshot::take`] to read.
///
/// # Errors
///
/// Something cannot be listed; only root can list all of it.
pub(crate) fn print() -> Result<()> {
    println!(
        "{}",
        serde_json::to_string(&Snapshot::of_this_process()?).context("write the snapshot")?
    );
    Ok(())
}

impl Snapshot {
    /// The objects now, through sudo when xtask does not run as root.
    ///
    /// # Errors
    ///
    /// There is no root and no sudo, or an object cannot be listed.
    pub(crate) fn take() -> Result<Self> {
        if step::is_root() {
            return Self::of_this_process();
        }
        let ourselves = std::env::current_exe().context("find our own executable")?;
        let text = step::output(step::as_root(ourselves)?.arg("snapshot"))?;
        serde_json::from_str(&text).context("read the snapshot that root took")
    }

    fn of_this_process() -> Result<Self> {
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
        let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::parse).collect();
        let mut things = BTreeSet::new();
        add_programs(&mut things)?;
        // ip-netns(8) mounts its folder at its first use, and leaves the mount.
        let lasting = mounts
            .iter()
            .filter(|mount| mount.place != NETWORK_NAMESPACES);
        things.extend(lasting.map(|mount| Thing::Mount(mount.place.to_owned())));
        for mount in &mounts {
            match mount.kind {
                "bpf" => walk(Path::new(mount.place), &mut |path, _| {
                    things.insert(Thing::Pin(path.to_owned()));
                })?,
                // The recorder uses version 2 only; other process managers may keep
                // cgroups in version 1.
                "cgroup2" => walk(Path::new(mount.place), &mut |path, is_folder| {
                    if is_folder && !is_systemds(path) {
                        things.insert(Thing::Cgroup(path.to_owned()));
                    }
                })?,
                _ => {}
            }
        }
        walk(Path::new(NETWORK_NAMESPACES), &mut |path, _| {
            things.insert(Thing::NetworkNamespace(path.display().to_string()));
        })?;
        Ok(Self { things })
    }

    /// Waits until every object is one of `self`.
    ///
    /// # Errors
    ///
    /// A new object did not go in time: the line names each.
    pub(crate) fn expect_nothing_new(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let now = Self::take()?;
            let (strangers, ours) = self.new_things(&now);
            if ours.is_empty() {
                for thing in strangers {
                    say(&format!(
                        "not ours, held by a process of somebody else: {thing}"
                    ));
                }
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let list: Vec<_> = ours.iter().map(ToString::to_string).collect();
                bail!("left behind: {}", list.join(", "));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The objects of `later` that `self` lacks: those of others, and those of this
    /// workspace.
    fn new_things<'a>(&'a self, later: &'a Self) -> (Vec<&'a Thing>, Vec<&'a Thing>) {
        later
            .things
            .difference(&self.things)
            .partition(|thing| match thing {
                Thing::Program { id, .. } | Thing::Link { program: id, .. } => {
                    held_by_a_stranger(*id)
                }
                _ => false,
            })
    }
}

fn add_programs(things: &mut BTreeSet<Thing>) -> Result<()> {
    for program in aya::programs::loaded_programs() {
        if program.as_ref().is_err_and(|error| has_gone(error)) {
            continue;
        }
        let program = program.context("list BPF programs (BPF_PROG_GET_NEXT_ID)")?;
        let name = String::from_utf8_lossy(program.name()).into_owned();
        // systemd attaches programs to the cgroups of services that come and go.
        if !name.starts_with("sd_") {
            things.insert(Thing::Program {
                id: program.id(),
                name,
            });
        }
    }
    for link in aya::programs::loaded_links() {
        if link.as_ref().is_err_and(|error| has_gone(error)) {
            continue;
        }
        let link = link.context("list BPF links (BPF_LINK_GET_NEXT_ID)")?;
        things.insert(Thing::Link {
            id: link.id(),
            program: link.program_id(),
        });
    }
    Ok(())
}

/// Whether an error means that the object was removed while it was listed.
fn has_gone(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| {
            // Reading the open folder of a removed cgroup fails with ENODEV.
            error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
        })
}

/// Whether a process whose executable lies outside this workspace has the program open.
fn held_by_a_stranger(program: u32) -> bool {
    let line = format!("prog_id:\t{program}");
    let holds = |process: &Path| {
        let infos = fs::read_dir(process.join("fdinfo"))
            .into_iter()
            .flatten()
            .flatten();
        infos
            .filter_map(|info| fs::read_to_string(info.path()).ok())
            .any(|text| text.lines().any(|l| l == line))
    };
    let is_outside = |process: &Path| {
        fs::read_link(process.join("exe")).is_ok_and(|exe| !exe.starts_with(workspace::root()))
    };
    let processes = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    processes
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
        })
        .any(|process| is_outside(&process) && holds(&process))
}

/// Units of systemd come and go by themselves.
fn is_systemds(cgroup: &Path) -> bool {
    cgroup.components().any(|part| {
        let name = part.as_os_str().as_encoded_bytes();
        [&b".service"[..], b".scope", b".slice"]
            .iter()
            .any(|unit| name.ends_with(unit))
    })
}

/// Calls `see` for everything in a folder, which may be missing or be removed
/// meanwhile.
fn walk(folder: &Path, see: &mut impl FnMut(&Path, bool)) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if has_gone(&error) => return Ok(()),
        entries => entries.with_context(|| format!("list {}", folder.display()))?,
    };
    for entry in entries {
        if entry.as_ref().is_err_and(|error| has_gone(error)) {
            return Ok(());
        }
        let entry = entry.with_context(|| format!("list {}", folder.display()))?;
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        see(&entry.path(), is_folder);
        if is_folder {
            walk(&entry.path(), see)?;
        }
    }
    Ok(())
}

/// One line of proc_pid_mountinfo(5).
#[derive(Debug, PartialEq, Eq)]
struct Mount<'a> {
    place: &'a str,
    kind: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        Some(Self {
            place: before.split(' ').nth(4)?,
            kind: after.split(' ').next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_its_place_and_kind_whatever_optional_fields_stand_between() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue";
        assert_eq!(
            Mount::parse(line),
            Some(Mount {
                place: "/mnt2",
                kind: "ext3"
            })
        );
        assert_eq!(
            Mount::parse("36 35 98:0 / / rw - tmpfs tmpfs rw").map(|mount| mount.kind),
            Some("tmpfs")
        );
        assert_eq!(Mount::parse("nonsense"), None);
    }

    #[test]
    fn what_is_new_is_found_and_what_was_there_is_not() {
        let before = Snapshot {
            things: [Thing::Mount("/a".into()), Thing::Pin("/b".into())].into(),
        };
        let after = Snapshot {
            things: [Thing::Mount("/a".into()), Thing::Cgroup("/c".into())].into(),
        };
        let (strangers, ours) = before.new_things(&after);
        assert!(strangers.is_empty());
        assert_eq!(ours, [&Thing::Cgroup("/c".into())]);
    }

    #[test]
    fn what_went_meanwhile_is_told_from_what_is_refused() {
        let error = |kind: io::ErrorKind| aya::sys::SyscallError {
            call: "bpf",
            io_error: kind.into(),
        };
        assert!(has_gone(&error(io::ErrorKind::NotFound)));
        assert!(!has_gone(&error(io::ErrorKind::PermissionDenied)));
    }

    #[test]
    fn systemds_own_cgroups_are_not_counted() {
        assert!(is_systemds(Path::new(
            "/sys/fs/cgroup/system.slice/cron.service"
        )));
        assert!(!is_systemds(Path::new(
            "/sys/fs/cgroup/agent-recorder-test"
        )));
    }

    #[test]
    fn a_snapshot_survives_the_way_through_sudo() -> Result<()> {
        let snapshot = Snapshot {
            things: [
                Thing::Program {
                    id: 7,
                    name: "x".into(),
                },
                Thing::Link { id: 1, program: 7 },
            ]
            .into(),
        };
        let read: Snapshot = serde_json::from_str(&serde_json::to_string(&snapshot)?)?;
        assert_eq!(read.things, snapshot.things);
        Ok(())
    }
}
