//! Tries to reach a process and its BPF objects, and prints each result: `attach
//! OUTCOME`, `link OUTCOME`, …
//!
//! `stimulus tamper PID`, or without PID for its own map, which any process with
//! bpf(2) may open.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::PathBuf;

use agent_recorder_tests::stimuli::{Outcome, named, outcome};
use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, setrlimit};

/// `BPF_MAP_CREATE`, `BPF_PROG_`, `BPF_MAP_` and `BPF_LINK_GET_FD_BY_ID` (include/uapi/linux/bpf.h).
const MAP_CREATE: libc::c_long = 0;
const BY_ID: [(&str, libc::c_long); 3] = [("link_id", 30), ("map_id", 14), ("prog_id", 13)];
/// `BPF_MAP_TYPE_ARRAY`.
const ARRAY: u32 = 2;

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let Some(pid) = words.first() else {
        // Before 5.11 a map counts as locked memory (getrlimit(2)). Where the limit
        // stays, the map is made all the same, or the error says why.
        let unlimited = Rlimit {
            current: None,
            maximum: None,
        };
        let _ = setrlimit(Resource::Memlock, unlimited);
        let made = bpf(MAP_CREATE, [ARRAY, 4, 4, 1]);
        let map = made.map_err(|name| anyhow::anyhow!("make a map: {name}"))?;
        let id = held(std::process::id(), "map_id")?;
        tell("map_id", bpf(14, [id, 0, 0, 0]));
        let map = i32::try_from(map)?;
        // SAFETY: bpf(2) has just created the descriptor, which has no other owner.
        drop(unsafe { OwnedFd::from_raw_fd(map) });
        return Ok(());
    };
    let pid = pid.to_str().and_then(|pid| pid.parse().ok());
    let pid: u32 = pid.context("a process's number")?;
    // SAFETY: the arguments are numbers. The tracee is not stopped, and the tracing
    // ends with this process.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    tell("attach", outcome(seized));
    tell("limit", limited(pid));
    tell("descriptor", taken(pid));
    tell("procfs", written(&format!("/proc/{pid}/oom_score_adj"))?);
    for (name, command) in BY_ID {
        tell(name, bpf(command, [held(pid, name)?, 0, 0, 0]));
    }
    Ok(())
}

fn tell(what: &str, outcome: Outcome) {
    println!("{what} {}", outcome.map_or_else(|name| name, |_| "done"));
}

/// Sets a limit to the value that the process has.
fn limited(pid: u32) -> Outcome {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let (process, resource) = (pid.cast_signed(), libc::RLIMIT_CORE);
    // SAFETY: the kernel writes one `rlimit` through the pointer, and then reads it.
    let result = unsafe {
        let asked = libc::prlimit(process, resource, std::ptr::null(), &mut limit);
        asked.min(libc::prlimit(
            process,
            resource,
            &limit,
            std::ptr::null_mut(),
        ))
    };
    outcome(result.into())
}

/// Takes the first descriptor that a process has; it stays open.
fn taken(pid: u32) -> Outcome {
    // SAFETY: the calls take numbers.
    outcome(unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        libc::syscall(libc::SYS_pidfd_getfd, process, 0, 0)
    })
}

/// Opens a file for writing, and writes its own content back.
fn written(path: &str) -> anyhow::Result<Outcome> {
    let says = fs::read_to_string(path)?;
    Ok(match OpenOptions::new().write(true).open(path) {
        Ok(mut file) => {
            file.write_all(says.as_bytes())?;
            Ok(0)
        }
        Err(error) => Err(named(error.raw_os_error().unwrap_or(0).unsigned_abs())),
    })
}

/// The descriptors stay open: this process ends soon.
fn bpf(command: libc::c_long, words: [u32; 4]) -> Outcome {
    // SAFETY: the attributes have the stated size and outlive the call.
    outcome(unsafe { libc::syscall(libc::SYS_bpf, command, words.as_ptr(), size_of_val(&words)) })
}

/// The number of the first such object that a process holds (proc_pid_fdinfo(5)).
fn held(pid: u32, name: &str) -> anyhow::Result<u32> {
    let folder = PathBuf::from(format!("/proc/{pid}/fdinfo"));
    for entry in fs::read_dir(&folder)? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        if let Some((_, number)) = fields.find(|(field, _)| *field == name) {
            return Ok(number.trim().parse()?);
        }
    }
    anyhow::bail!("{}: no {name}", folder.display())
}
