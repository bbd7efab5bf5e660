//! From strace's calls to the acts that a recorder must show, and no others.
//!
//! What the recorder does not show by design is named here, each with its reason:
//! [`Truth::opened`] (repeated opens for reading), [`Outcome::Never`] (calls
//! that did not come back), and in `sockets`.

use std::collections::{BTreeMap, BTreeSet};

use agent_recorder_abi::limits::{FAILED_EXEC_ARG_BYTES, FAILED_EXEC_ARGS};
use anyhow::{Context as _, bail};

use super::act::{Act, Bytes, Deed, File};
use super::line::{self, Call, Event, Outcome, What};
use super::sockets::Sockets;
use super::tree::{Identity, Node, Thread, Tree};
use crate::agents::strace::after_interpreters;

/// CLONE_PARENT and CLONE_THREAD (include/uapi/linux/sched.h).
const CLONE_PARENT: i64 = 0x8000;
const CLONE_THREAD: i64 = 0x1_0000;
/// open(2).
const O_ACCMODE: i64 = 0o3;
const O_CREAT: i64 = 0o100;
const O_EXCL: i64 = 0o200;
const O_TRUNC: i64 = 0o1000;
const O_NOFOLLOW: i64 = 0o400_000;
const O_TMPFILE: i64 = 0o20_000_000;
/// The flags of creat(2), which has none to give.
const CREAT: i64 = 0o1 | O_CREAT | O_TRUNC;
/// fcntl.h.
const AT_SYMLINK_NOFOLLOW: i64 = 0x100;
const AT_REMOVEDIR: i64 = 0x200;
const AT_SYMLINK_FOLLOW: i64 = 0x400;
/// renameat2(2).
const RENAME_EXCHANGE: i64 = 2;

/// Acts on sockets, and calls that tell of them.
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

/// Every call that can do what a record tells of.
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

/// What must be recorded: exactly one of the acts of each.
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
    /// Who made whom.
    parents: BTreeMap<u32, u32>,
    sockets: Sockets,
    /// What each process's descriptors were last seen to lead to.
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
    /// One that has no name any more.
    Path(Vec<u8>),
}

impl Truth {
    /// Brings a trace that began in `cwd` with these names into acts.
    ///
    /// # Errors
    ///
    /// A call that is not understood: then nothing can be said of the run.
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

    /// A child's lines can come before its parent's clone is told to have returned.
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
        // The leader's end is told when all its threads' are.
        if pid == tid {
            self.expected.push(only(Act {
                pid,
                tid: None,
                deed: Deed::Exit { code, signal, core },
            }));
        }
    }

    /// Takes in what strace says of descriptors beside the call itself.
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
        // It inherits what its parent has now.
        self.process(child)?;
        self.expected
            .push(only(doer.did(Deed::Fork { child, parent })));
        Ok(())
    }

    /// Opens for reading are recorded once per program and file, or a session
    /// would consist of little else (`readOnly`, proto/agent_recorder/v1/record.proto).
    fn opened(&mut self, doer: Thread, call: &Call) -> anyhow::Result<()> {
        let (path, flags, mode) = self.open_arguments(call)?;
        let error = error_of(call);
        let mut file = File {
            op: "OPEN".to_owned(),
            flags: flags.cast_unsigned(),
            error: error.clone(),
            ..File::default()
        };
        if flags & O_CREAT != 0 || flags & O_TMPFILE == O_TMPFILE {
            file.mode = mode;
        }
        let Outcome::Returned(descriptor) = &call.outcome else {
            // A link as the last name of an exclusive open is not followed (open(2), O_EXCL).
            let exclusive = O_CREAT | O_EXCL;
            let follow = flags & O_NOFOLLOW == 0
                && flags & exclusive != exclusive
                && error.as_deref() != Some("ENOENT");
            let (dirfd, path) = path;
            file.path = Bytes(self.located(doer, call, dirfd, path, follow)?);
            self.expected.push(only(doer.did(Deed::File(file))));
            return Ok(());
        };
        let opened = line::descriptor(descriptor)?.path.context("no path")?;
        let node = self.tree.get(&opened);
        if flags & O_TMPFILE == O_TMPFILE || flags & O_CREAT != 0 && node.is_none() {
            file.op = "CREATE".to_owned();
            if flags & O_TMPFILE != O_TMPFILE {
                self.tree.create(&opened);
            }
        }
        let reads_only = flags & (O_ACCMODE | O_CREAT | O_TRUNC) == 0;
        file.path = Bytes(opened.clone());
        let act = doer.did(Deed::File(file));
        if !reads_only {
            self.expected.push(only(act));
            return Ok(());
        }
        let which = match node {
            Some(Node::File(identity) | Node::Directory(identity)) => Opened::File(identity),
            Some(Node::Link(_)) | None => Opened::Path(opened),
        };
        let image = self.process(doer.pid)?.image;
        match self.read.get(&(doer.pid, image, which.clone())) {
            Some(&first) => self.expected[first].candidates.push(act),
            None => {
                self.read
                    .insert((doer.pid, image, which), self.expected.len());
                self.expected.push(only(act));
            }
        }
        Ok(())
    }

    /// Where the path is (its directory's and its own argument), flags, mode.
    fn open_arguments(&self, call: &Call) -> anyhow::Result<((Option<usize>, usize), i64, u32)> {
        let number = |index: usize| -> anyhow::Result<i64> {
            call.arguments
                .get(index)
                .map_or(Ok(0), |text| line::number(text))
        };
        let mode = |index| Ok::<_, anyhow::Error>(u32::try_from(number(index)?)?);
        Ok(match call.name.as_str() {
            "open" => ((None, 0), number(1)?, mode(2)?),
            "openat" => ((Some(0), 1), number(2)?, mode(3)?),
            "creat" => ((None, 0), CREAT, mode(1)?),
            _ => {
                let how = argument(call, 2)?;
                let of = |name| line::field(how, name).map_or(Ok(0), line::number);
                ((Some(0), 1), of("flags")?, u32::try_from(of("mode")?)?)
            }
        })
    }

    fn located(
        &mut self,
        doer: Thread,
        call: &Call,
        dirfd: Option<usize>,
        path: usize,
        follow: bool,
    ) -> anyhow::Result<Vec<u8>> {
        let path = line::string(argument(call, path)?)?;
        let base = match dirfd {
            None => self.process(doer.pid)?.cwd.clone(),
            Some(index) => {
                let directory = line::descriptor(argument(call, index)?)?;
                match directory.path {
                    Some(base) => base,
                    None if path.starts_with(b"/") => b"/".to_vec(),
                    // Of a descriptor that is not open (EBADF): as it was given.
                    None => return Ok(path),
                }
            }
        };
        // Followed to its end, a descriptor's name is what it leads to. One that
        // names the process by its number is told as it is: only "self" is
        // looked up where the call returns (agent-recorder-ebpf/src/file.rs).
        let descriptor = path
            .strip_prefix(b"/proc/self/fd/")
            .and_then(|number| std::str::from_utf8(number).ok()?.parse().ok())
            .and_then(|number| self.descriptors.get(&(doer.pid, number)));
        Ok(match descriptor {
            Some(file) if follow => file.clone(),
            _ => self.tree.resolve(doer, &base, &path, follow),
        })
    }

    /// Every call that changes a file or a name.
    #[expect(clippy::too_many_lines, reason = "a table, one row a call")]
    fn operation(&mut self, doer: Thread, call: &Call) -> anyhow::Result<File> {
        let error = error_of(call);
        // A name that leads nowhere is the name itself.
        let follows = error.as_deref() != Some("ENOENT");
        let number = |index: usize| line::number(argument(call, index)?);
        let flags = |index| Ok::<_, anyhow::Error>(number(index)?.cast_unsigned());
        let mode = |index| Ok::<_, anyhow::Error>(u32::try_from(number(index)?)?);
        let owner = |index| Ok::<_, anyhow::Error>(u32::try_from(number(index)?).ok());
        let string = |index| line::string(argument(call, index)?).map(Bytes);
        let file = |op: &str| File {
            op: op.to_owned(),
            error: error.clone(),
            ..File::default()
        };
        let own = |index| -> anyhow::Result<Bytes> {
            let descriptor = line::descriptor(argument(call, index)?)?;
            Ok(Bytes(descriptor.path.unwrap_or_default()))
        };
        let mut at = |dirfd, path, follow| self.located(doer, call, dirfd, path, follow).map(Bytes);
        Ok(match call.name.as_str() {
            "unlink" => File {
                path: at(None, 0, false)?,
                ..file("DELETE")
            },
            "unlinkat" => File {
                path: at(Some(0), 1, false)?,
                flags: flags(2)?,
                ..file(if number(2)? & AT_REMOVEDIR == 0 {
                    "DELETE"
                } else {
                    "RMDIR"
                })
            },
            "rmdir" => File {
                path: at(None, 0, false)?,
                ..file("RMDIR")
            },
            "mkdir" => File {
                path: at(None, 0, false)?,
                mode: mode(1)?,
                ..file("MKDIR")
            },
            "mkdirat" => File {
                path: at(Some(0), 1, false)?,
                mode: mode(2)?,
                ..file("MKDIR")
            },
            "mknod" => File {
                path: at(None, 0, false)?,
                mode: mode(1)?,
                ..file("CREATE")
            },
            "mknodat" => File {
                path: at(Some(0), 1, false)?,
                mode: mode(2)?,
                ..file("CREATE")
            },
            "rename" => File {
                path: at(None, 0, false)?,
                new_path: Some(at(None, 1, false)?),
                ..file("RENAME")
            },
            "renameat" | "renameat2" => File {
                path: at(Some(0), 1, false)?,
                new_path: Some(at(Some(2), 3, false)?),
                flags: if call.name == "renameat2" {
                    flags(4)?
                } else {
                    0
                },
                ..file("RENAME")
            },
            "link" => File {
                path: at(None, 0, false)?,
                new_path: Some(at(None, 1, false)?),
                ..file("LINK")
            },
            "linkat" => File {
                path: at(Some(0), 1, follows && number(4)? & AT_SYMLINK_FOLLOW != 0)?,
                new_path: Some(at(Some(2), 3, false)?),
                flags: flags(4)?,
                ..file("LINK")
            },
            "symlink" => File {
                path: at(None, 1, false)?,
                new_path: Some(string(0)?),
                ..file("SYMLINK")
            },
            "symlinkat" => File {
                path: at(Some(1), 2, false)?,
                new_path: Some(string(0)?),
                ..file("SYMLINK")
            },
            "chmod" => File {
                path: at(None, 0, follows)?,
                mode: mode(1)?,
                ..file("CHMOD")
            },
            "fchmodat" => File {
                path: at(Some(0), 1, follows)?,
                mode: mode(2)?,
                ..file("CHMOD")
            },
            "fchmod" => File {
                path: own(0)?,
                mode: mode(1)?,
                ..file("CHMOD")
            },
            "chown" | "lchown" => File {
                path: at(None, 0, follows && call.name == "chown")?,
                uid: owner(1)?,
                gid: owner(2)?,
                ..file("CHOWN")
            },
            "fchownat" => File {
                path: at(Some(0), 1, follows && number(4)? & AT_SYMLINK_NOFOLLOW == 0)?,
                uid: owner(2)?,
                gid: owner(3)?,
                flags: flags(4)?,
                ..file("CHOWN")
            },
            "fchown" => File {
                path: own(0)?,
                uid: owner(1)?,
                gid: owner(2)?,
                ..file("CHOWN")
            },
            "truncate" => File {
                path: at(None, 0, follows)?,
                length: flags(1)?,
                ..file("TRUNCATE")
            },
            "ftruncate" => File {
                path: own(0)?,
                length: flags(1)?,
                ..file("TRUNCATE")
            },
            "setxattr" | "lsetxattr" => File {
                path: at(None, 0, follows && call.name == "setxattr")?,
                xattr: string(1)?,
                flags: flags(4)?,
                ..file("XATTR")
            },
            "fsetxattr" => File {
                path: own(0)?,
                xattr: string(1)?,
                flags: flags(4)?,
                ..file("XATTR")
            },
            "removexattr" | "lremovexattr" => File {
                path: at(None, 0, follows && call.name == "removexattr")?,
                xattr: string(1)?,
                ..file("XATTR")
            },
            "fremovexattr" => File {
                path: own(0)?,
                xattr: string(1)?,
                ..file("XATTR")
            },
            "chdir" => File {
                path: at(None, 0, follows)?,
                ..file("CHDIR")
            },
            "fchdir" => File {
                path: own(0)?,
                ..file("CHDIR")
            },
            other => bail!("no program here is known to call {other}"),
        })
    }

    /// What a successful operation changes of what later paths lead to.
    fn effect(&mut self, doer: Thread, file: &File, call: &Call) -> anyhow::Result<()> {
        let path = &file.path.0;
        let new = file.new_path.as_ref().map(|new| new.0.as_slice());
        match (file.op.as_str(), new) {
            ("DELETE" | "RMDIR", _) => self.tree.remove(path),
            ("MKDIR", _) => self.tree.make_directory(path),
            ("CREATE", _) => self.tree.create(path),
            ("SYMLINK", Some(target)) => self.tree.make_link(path, target),
            ("LINK", Some(new)) => self.tree.link(path, new),
            ("RENAME", Some(new))
                if line::number(call.arguments.get(4).map_or("0", String::as_str))?
                    & RENAME_EXCHANGE
                    != 0 =>
            {
                self.tree.exchange(path, new);
            }
            ("RENAME", Some(new)) => self.tree.rename(path, new),
            ("CHDIR", _) => self.process(doer.pid)?.cwd.clone_from(path),
            _ => {}
        }
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
