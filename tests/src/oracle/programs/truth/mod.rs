//! Turns strace's calls into the acts that a recorder must show, and no others.
//!
//! Acts that the recorder leaves out by design are named here, each with its reason:
//! [`Truth::opened`] (repeated opens for reading), [`Outcome::Never`] (calls
//! that did not come back), and in `sockets`.

mod files;

use std::collections::{BTreeMap, BTreeSet};

use agent_recorder_abi::limits::{FAILED_EXEC_ARG_BYTES, FAILED_EXEC_ARGS};
use anyhow::{Context as _, bail};

use super::act::{Act, Bytes, Deed};
use super::line::{self, Call, Event, Outcome, What};
use super::sockets::Sockets;
use super::tree::{Identity, Thread, Tree};
use crate::oracle::strace::after_interpreters;

/// CLONE_PARENT and CLONE_THREAD (include/uapi/linux/sched.h).
const CLONE_PARENT: i64 = 0x8000;
const CLONE_THREAD: i64 = 0x1_0000;

/// Acts on sockets, and calls that show their state.
const SOCKET_CALLS: &[&str] = &[
    "socket",
    "getsockopt",
    "getsockname",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "sendto",
    "sendmsg",
    "recvfrom",
    "recvmsg",
];

/// Every call whose act can be recorded.
pub const CALLS: &[&str] = &[
    "execve",
    "execveat",
    "clone",
    "clone3",
    "fork",
    "vfork",
    "open",
    "openat",
    "openat2",
    "creat",
    "open_by_handle_at",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "rmdir",
    "mknod",
    "mknodat",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "truncate",
    "ftruncate",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "mount",
    "move_mount",
    "umount2",
    "chdir",
    "fchdir",
    "chroot",
    "pivot_root",
    "socket",
    "sendto",
    "sendmsg",
    "recvfrom",
    "recvmsg",
    "getsockopt",
    "getsockname",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "io_uring_setup",
];

/// One act that must be recorded: exactly one of the candidates.
#[derive(Clone, Debug)]
pub struct Expected {
    /// More than one where several threads opened a file for reading at about
    /// one time, and only the kernel knows who was the first.
    pub candidates: Vec<Act>,
}

/// An account of a run.
#[derive(Debug)]
pub struct Truth {
    /// In strace's order.
    pub expected: Vec<Expected>,
    /// The first process.
    pub root: u32,
    /// All processes.
    pub pids: BTreeSet<u32>,
    tree: Tree,
    processes: BTreeMap<u32, Process>,
    /// Threads that do not lead their process, and their process.
    threads: BTreeMap<u32, u32>,
    /// The thread that made each process.
    parents: BTreeMap<u32, u32>,
    sockets: Sockets,
    /// The file of each process's descriptors, as last seen.
    descriptors: BTreeMap<(u32, i64), Vec<u8>>,
    /// Index into `expected` of the first open for reading.
    read: BTreeMap<(u32, u64, Opened), usize>,
}

#[derive(Clone, Debug)]
struct Process {
    cwd: Vec<u8>,
    /// Counts programs of the process: an exec makes it another reader.
    image: u64,
    parent: u32,
}

/// Which file was opened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Opened {
    File(Identity),
    /// The path of a file whose name is gone.
    Path(Vec<u8>),
}

impl Truth {
    /// Brings a trace that began in `cwd` with these names into acts.
    ///
    /// # Errors
    ///
    /// A call is not understood, so that the run cannot be judged.
    pub fn new(events: &[Event], tree: Tree, cwd: &[u8]) -> anyhow::Result<Self> {
        let root = events.first().context("strace saw nothing")?.tid;
        let first = Process {
            cwd: cwd.to_vec(),
            image: 0,
            // Strace, which is not traced.
            parent: 0,
        };
        let mut truth = Self {
            expected: Vec::new(),
            root,
            pids: BTreeSet::new(),
            tree,
            processes: BTreeMap::from([(root, first)]),
            threads: BTreeMap::new(),
            parents: BTreeMap::new(),
            sockets: Sockets::default(),
            descriptors: BTreeMap::new(),
            read: BTreeMap::new(),
        };
        truth.learn_lineage(events)?;
        for event in events {
            truth
                .take(event)
                .with_context(|| format!("understand {event:?}"))?;
        }
        let ended = std::mem::take(&mut truth.sockets).ended();
        truth.expected.extend(ended.into_iter().map(only));
        Ok(truth)
    }

    /// Reads all clones first: a child's lines can precede the return of its parent's clone.
    fn learn_lineage(&mut self, events: &[Event]) -> anyhow::Result<()> {
        for event in events {
            let Some((flags, child)) = made(event)? else {
                continue;
            };
            if flags & CLONE_THREAD != 0 {
                self.threads.insert(child, event.tid);
            } else if self.parents.insert(child, event.tid).is_some() {
                bail!("process number {child} was used twice");
            }
        }
        Ok(())
    }

    fn pid_of(&self, tid: u32) -> u32 {
        let mut pid = tid;
        while let Some(&maker) = self.threads.get(&pid) {
            pid = maker;
        }
        pid
    }

    fn process(&mut self, pid: u32) -> anyhow::Result<&mut Process> {
        if !self.processes.contains_key(&pid) {
            let &maker = self.parents.get(&pid).context("a process of no parent")?;
            let maker = self.pid_of(maker);
            let process = Process {
                parent: maker,
                image: 0,
                cwd: self.process(maker)?.cwd.clone(),
            };
            self.processes.insert(pid, process);
        }
        self.processes.get_mut(&pid).context("unknown")
    }

    fn take(&mut self, event: &Event) -> anyhow::Result<()> {
        let pid = self.pid_of(event.tid);
        self.pids.insert(pid);
        self.process(pid)?;
        match &event.what {
            What::Exited(code) => self.ended(pid, event.tid, *code, 0, false),
            What::Killed(signal, core) => {
                let signal = signal_number(signal)?;
                self.ended(pid, event.tid, 0, signal, *core);
            }
            // The process died in it, or makes it again: nothing was done.
            What::Call(call) if call.outcome == Outcome::Never => {}
            What::Call(call) => {
                let doer = Thread {
                    pid,
                    tid: event.tid,
                };
                self.called(doer, call)?;
            }
        }
        Ok(())
    }

    fn ended(&mut self, pid: u32, tid: u32, code: u32, signal: u32, core: bool) {
        // strace reports the leader's end after those of all its threads.
        if pid == tid {
            self.expected.push(only(Act {
                pid,
                tid: None,
                deed: Deed::Exit { code, signal, core },
            }));
        }
    }

    /// Notes the files of descriptors that strace shows in arguments and results.
    fn note_descriptors(&mut self, doer: Thread, call: &Call) -> anyhow::Result<()> {
        let returned = match &call.outcome {
            Outcome::Returned(returned) => Some(returned),
            Outcome::Failed(_) | Outcome::Never => None,
        };
        for text in call.arguments.iter().chain(returned) {
            match line::descriptor(text) {
                Ok(line::Descriptor {
                    number: line::AT_FDCWD,
                    path: Some(path),
                }) => self.process(doer.pid)?.cwd = path,
                Ok(line::Descriptor {
                    number,
                    path: Some(path),
                }) => {
                    self.descriptors.insert((doer.pid, number), path);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn called(&mut self, doer: Thread, call: &Call) -> anyhow::Result<()> {
        self.note_descriptors(doer, call)?;
        match call.name.as_str() {
            "execve" => self.executed(doer, call),
            "clone" | "clone3" | "fork" | "vfork" => self.forked(doer, call),
            "open" | "openat" | "openat2" | "creat" => self.opened(doer, call),
            name if SOCKET_CALLS.contains(&name) => {
                let acts = self.sockets.called(doer, call)?;
                self.expected.extend(acts.into_iter().map(only));
                Ok(())
            }
            _ => {
                let file = self.operation(doer, call)?;
                if file.error.is_none() {
                    self.effect(doer, &file, call)?;
                }
                self.expected.push(only(doer.did(Deed::File(file))));
                Ok(())
            }
        }
    }

    fn executed(&mut self, doer: Thread, call: &Call) -> anyhow::Result<()> {
        let filename = line::string(argument(call, 0)?)?;
        let asked = line::strings(argument(call, 1)?)?;
        let error = error_of(call);
        let cwd = self.process(doer.pid)?.cwd.clone();
        let (exe, argv) = if error.is_some() {
            (filename.clone(), kept_of_failed(asked))
        } else {
            let argv = after_interpreters(filename.clone(), asked.clone());
            let program = if argv == asked { &filename } else { &argv[0] };
            (self.tree.resolve(doer, &cwd, program, true), argv)
        };
        if error.is_none() {
            self.process(doer.pid)?.image += 1;
        }
        self.expected.push(only(doer.did(Deed::Exec {
            exe: Bytes(exe),
            filename: Bytes(filename),
            argv: argv.into_iter().map(Bytes).collect(),
            cwd: Bytes(cwd),
            error,
        })));
        Ok(())
    }

    fn forked(&mut self, doer: Thread, call: &Call) -> anyhow::Result<()> {
        let event = Event {
            tid: doer.tid,
            what: What::Call(call.clone()),
        };
        // A failed fork made nothing.
        let Some((flags, child)) = made(&event)? else {
            return Ok(());
        };
        if flags & CLONE_THREAD != 0 {
            return Ok(());
        }
        let parent = if flags & CLONE_PARENT != 0 {
            self.process(doer.pid)?.parent
        } else {
            doer.pid
        };
        // The child inherits its parent's present working directory.
        self.process(child)?;
        self.expected
            .push(only(doer.did(Deed::Fork { child, parent })));
        Ok(())
    }
}

impl Thread {
    pub(super) fn did(self, deed: Deed) -> Act {
        Act {
            pid: self.pid,
            tid: Some(self.tid),
            deed,
        }
    }
}

fn only(act: Act) -> Expected {
    Expected {
        candidates: vec![act],
    }
}

/// An argument by its place.
pub(super) fn argument(call: &Call, index: usize) -> anyhow::Result<&str> {
    call.arguments
        .get(index)
        .map(String::as_str)
        .context("an argument is missing")
}

/// The errno's name.
pub(super) fn error_of(call: &Call) -> Option<String> {
    match &call.outcome {
        Outcome::Failed(error) => Some(error.clone()),
        Outcome::Returned(_) | Outcome::Never => None,
    }
}

/// The flags and the number of a new thread or process.
fn made(event: &Event) -> anyhow::Result<Option<(i64, u32)>> {
    let What::Call(call) = &event.what else {
        return Ok(None);
    };
    if !["clone", "clone3", "fork", "vfork"].contains(&call.name.as_str()) {
        return Ok(None);
    }
    let Outcome::Returned(child) = &call.outcome else {
        return Ok(None);
    };
    let flags = call
        .arguments
        .iter()
        .find_map(|argument| line::field(argument, "flags"))
        .map_or(Ok(0), line::number)?;
    Ok(Some((flags, child.parse()?)))
}

/// An exec that failed has its arguments cut (agent_recorder_abi::limits).
fn kept_of_failed(argv: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    for mut argument in argv.into_iter().take(FAILED_EXEC_ARGS as usize) {
        let cut = argument.len() >= FAILED_EXEC_ARG_BYTES;
        argument.truncate(FAILED_EXEC_ARG_BYTES - 1);
        kept.push(argument);
        if cut {
            break;
        }
    }
    kept
}

/// signal(7), x86.
fn signal_number(name: &str) -> anyhow::Result<u32> {
    let known = [
        ("SIGHUP", libc::SIGHUP),
        ("SIGINT", libc::SIGINT),
        ("SIGABRT", libc::SIGABRT),
        ("SIGKILL", libc::SIGKILL),
        ("SIGSEGV", libc::SIGSEGV),
        ("SIGPIPE", libc::SIGPIPE),
        ("SIGTERM", libc::SIGTERM),
        ("SIGUSR1", libc::SIGUSR1),
    ];
    let found = known.iter().find(|(known, _)| *known == name);
    let (_, number) = found.with_context(|| format!("which signal is {name}?"))?;
    Ok(number.unsigned_abs())
}
