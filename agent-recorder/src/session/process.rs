//! What is known of each process of a session: told by its fork and exec, or
//! read from /proc for one that was there before.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;

use agent_recorder_abi::event::Header;

use super::path::KnownPath;
use crate::record::{ProcessKey, proto};

/// What records say of a process beyond what each event carries.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    pub(super) exe: KnownPath,
    pub(super) cwd: KnownPath,
    /// Its root directory, when it has another mount namespace or root than the recorder.
    pub(super) root: Option<Arc<OwnedFd>>,
}

/// The processes of all sessions.
#[derive(Debug, Default)]
pub(super) struct Processes {
    known: HashMap<ProcessKey, Process>,
    /// Those that no event has come of, by what is known of them: their pids.
    expected: HashMap<u32, Process>,
    /// cgroup v2 id → path, filled as ids turn up.
    cgroups: HashMap<u64, Arc<[u8]>>,
}

/// cgroup paths that are kept; past it they are read anew.
const MAX_CGROUPS: usize = 4096;

/// The process that an event is of.
pub fn key_of(header: &Header) -> ProcessKey {
    ProcessKey {
        pid: header.pid,
        start_time: header.start_time,
    }
}

impl Process {
    /// Has it run the program of an exec that succeeded.
    pub(super) fn became(&mut self, exec: &proto::Exec) {
        self.exe = KnownPath::new(&exec.exe, exec.exe_truncated);
        self.cwd = KnownPath::new(&exec.cwd, exec.cwd_truncated);
    }
}

impl Processes {
    /// What is known; reads /proc for a process that was never told of.
    pub(super) fn get(&mut self, key: ProcessKey) -> &mut Process {
        self.known.entry(key).or_insert_with(|| {
            let expected = self.expected.remove(&key.pid);
            expected.unwrap_or_else(|| read_proc(key.pid))
        })
    }

    /// Reads of /proc now what a session's first process is: when its first
    /// event comes, it can have another root already.
    pub(super) fn announce(&mut self, pid: u32) {
        self.expected.insert(pid, read_proc(pid));
    }

    /// A child begins as its parent is.
    pub(super) fn forked(&mut self, parent: ProcessKey, child: ProcessKey) {
        let inherited = self.get(parent).clone();
        self.known.insert(child, inherited);
    }

    /// Forgets a process.
    pub(super) fn ended(&mut self, key: ProcessKey) {
        self.known.remove(&key);
        self.expected.remove(&key.pid);
    }

    /// The record's form.
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
        // A process that is gone already says nothing: ask the next one with this id.
        if !path.is_empty() && self.cgroups.len() < MAX_CGROUPS {
            self.cgroups.insert(id, Arc::clone(&path));
        }
        path
    }
}

fn read_proc(pid: u32) -> Process {
    // Whole, or none: of a path beyond PATH_MAX the link cannot be read (proc_pid_cwd(5)).
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

/// The process's root, when paths mean something else to it than to the recorder.
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
