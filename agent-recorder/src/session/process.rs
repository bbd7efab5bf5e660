//! Facts about the processes of sessions, from their forks and execs, or from /proc
//! for a process that existed before.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use agent_recorder_abi::event::Header;

use super::path::KnownPath;
use crate::record::{ProcessKey, proto};

/// The facts in records about a process that its events lack.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) exe: KnownPath,
    pub(super) cwd: KnownPath,
    /// Root directory, when the process has another mount namespace or root than the
    /// recorder.
    pub(super) root: Option<Arc<OwnedFd>>,
}

/// The processes of all sessions.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: HashMap<ProcessKey, Process>,
    /// Processes without any event so far, by pid.
    expected: HashMap<u32, Process>,
    /// cgroup v2 id → path, filled as ids appear.
    cgroups: HashMap<u64, Arc<[u8]>>,
}

/// Most cgroup paths that are stored. Beyond it they are read every time.
const MAX_CGROUPS: usize = 4096;

/// The process of an event.
pub fn key_of(header: &Header) -> ProcessKey {
    ProcessKey {
        pid: header.pid,
        start_time: header.start_time,
    }
}

impl Process {
    /// Replaces the facts by those of the program that an exec started.
    pub(super) fn became(&mut self, exec: &proto::Exec) {
        self.exe = KnownPath::new(&exec.exe, exec.exe_truncated);
        self.cwd = KnownPath::new(&exec.cwd, exec.cwd_truncated);
    }
}

impl Processes {
    /// The facts about a process. They are read from /proc where no event gave them.
    pub(super) fn get(&mut self, key: ProcessKey) -> &mut Process {
        self.known.entry(key).or_insert_with(|| {
            let expected = self.expected.remove(&key.pid);
            expected.unwrap_or_else(|| read_proc(key.pid))
        })
    }

    /// Reads the facts about a session's first process from /proc now: by its first
    /// event it can have another root.
    pub(super) fn announce(&mut self, pid: u32) {
        self.expected.insert(pid, read_proc(pid));
    }

    /// A child begins with the facts of its parent.
    pub(super) fn forked(&mut self, parent: ProcessKey, child: ProcessKey) {
        let inherited = self.get(parent).clone();
        self.known.insert(child, inherited);
    }

    /// Forgets a process.
    pub(super) fn ended(&mut self, key: ProcessKey) {
        self.known.remove(&key);
        self.expected.remove(&key.pid);
    }

    /// The process in the form of a record.
    pub(super) fn describe(&mut self, header: &Header) -> proto::Process {
        let cgroup = self.cgroup(header.cgroup, header.pid);
        let process = self.get(key_of(header));
        let comm = header
            .comm
            .split(|&byte| byte == 0)
            .next()
            .unwrap_or_default();
        proto::Process {
            pid: header.pid,
            ppid: header.ppid,
            tid: header.tid,
            start_time_ns: header.start_time,
            uid: header.uid,
            loginuid: (header.loginuid != u32::MAX).then_some(header.loginuid),
            comm: comm.to_vec(),
            exe: process.exe.bytes.to_vec(),
            cwd: process.cwd.bytes.to_vec(),
            cgroup: cgroup.to_vec(),
            exe_truncated: process.exe.truncated,
            cwd_truncated: process.cwd.truncated,
        }
    }

    fn cgroup(&mut self, id: u64, pid: u32) -> Arc<[u8]> {
        if id == 0 {
            return Arc::default();
        }
        if let Some(path) = self.cgroups.get(&id) {
            return Arc::clone(path);
        }
        let path: Arc<[u8]> = read_cgroup(pid).into();
        // A process that has ended yields no path; the next one with this cgroup id
        // is read instead.
        if !path.is_empty() && self.cgroups.len() < MAX_CGROUPS {
            self.cgroups.insert(id, Arc::clone(&path));
        }
        path
    }
}

fn read_proc(pid: u32) -> Process {
    // The link is whole or unreadable: that of a path beyond PATH_MAX cannot be read
    // (proc_pid_cwd(5)).
    let link = |name: &str| {
        std::fs::read_link(format!("/proc/{pid}/{name}"))
            .map(|path| KnownPath::new(path.as_os_str().as_bytes(), false))
            .unwrap_or_default()
    };
    Process {
        exe: link("exe"),
        cwd: link("cwd"),
        root: foreign_root(pid).map(Arc::new),
    }
}

/// The root directory of a process for which paths mean other files than for the
/// recorder; otherwise `None`.
pub(super) fn foreign_root(pid: u32) -> Option<OwnedFd> {
    let theirs = std::fs::metadata(format!("/proc/{pid}/root/")).ok()?;
    let ours = std::fs::metadata("/").ok()?;
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    use std::os::unix::fs::MetadataExt as _;
    let same_root = theirs.dev() == ours.dev() && theirs.ino() == ours.ino();
    if same_root && namespace(&pid.to_string()) == namespace("self") {
        return None;
    }
    std::fs::File::open(format!("/proc/{pid}/root"))
        .ok()
        .map(OwnedFd::from)
}

/// The v2 line of /proc/PID/cgroup (cgroups(7)): `0::/path`.
fn read_cgroup(pid: u32) -> Vec<u8> {
    let text = std::fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.split(|&byte| byte == b'\n')
        .find_map(|line| line.strip_prefix(b"0::"))
        .unwrap_or_default()
        .to_vec()
}
