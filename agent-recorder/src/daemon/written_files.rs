//! Heirs: processes that start what a session wrote. Which file that is, is
//! found out here; it is recorded, and by configuration the heir joins.
//!
//! The kernel knows a program by its inode, a script by its name only: that one
//! is looked for among the arguments, and counts when its inode is one that a
//! session wrote.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_recorder_abi::event::{ExecBody, Header};
use agent_recorder_abi::limits::SCRIPT_ARGS;
use agent_recorder_abi::policy::PlaceKey;
use agent_recorder_abi::state::{SessionNumber, Tag};
use agent_recorder_abi::written_file::{HEIR_BY_FILE, Written};

use super::exec_gate::CARRIED_NS;
use super::takeover::adopt::with_descendants;
use super::{Error, Recorder};
use crate::bpf::{Body, Event, decode};
use crate::config;
use crate::guard;
use crate::guard::places::Mounts;
use crate::guard::script::after_script;
use crate::record::{SessionId, proto};
use crate::session::{self, Begin, KnownPath, authority};

/// Passes over the descendants of an heir that joins: one that finds none new ends it.
const MAX_PASSES: usize = 20;
/// Sessions that wrote something and are remembered after their end.
const WRITERS: usize = 4096;

/// What is known of who wrote what.
#[derive(Debug, Default)]
pub(super) struct Heirs {
    policy: config::Heirs,
    writers: HashMap<SessionNumber, Writer>,
    /// When they began, CLOCK_BOOTTIME ns, and their records.
    untold: Vec<(u64, proto::Record)>,
}

/// A session that wrote files.
#[derive(Clone, Debug)]
struct Writer {
    id: SessionId,
    agent: String,
}

/// A file that somebody started, and who wrote it.
#[derive(Debug)]
struct Inheritance {
    file: KnownPath,
    is_script: bool,
    written: Written,
}

impl Heirs {
    pub(super) fn new(policy: config::Heirs) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Whether some are to be told of in a moment.
    pub(super) fn is_pressing(&self) -> bool {
        !self.untold.is_empty()
    }
}

impl Recorder {
    /// Remembers what sessions wrote since the last time.
    pub(super) fn learn_written(&mut self) -> Result<(), Error> {
        for (number, path) in self.tracker.take_written() {
            if self.heirs.policy == config::Heirs::Off {
                continue;
            }
            if !self.heirs.writers.contains_key(&number)
                && let Some(session) = self.tracker.registry.get(number)
            {
                if self.heirs.writers.len() >= WRITERS {
                    self.heirs.writers.clear();
                }
                let writer = Writer {
                    id: session.id,
                    agent: session.agent.clone(),
                };
                self.heirs.writers.insert(number, writer);
            }
            if let Some(name) = name_of(&path) {
                self.kernel.add_written_name(name)?;
            }
        }
        Ok(())
    }

    /// Looks at a process that perhaps started what a session wrote, by the event of its exec.
    pub(super) fn meet_heir(&mut self, event: &[u8]) -> Result<(), Error> {
        if self.heirs.policy == config::Heirs::Off {
            return Ok(());
        }
        let Ok(Event {
            header,
            body:
                Body::Exec {
                    body,
                    exe,
                    filename,
                    cwd,
                    argv,
                },
        }) = decode(event)
        else {
            self.loss.damaged += 1;
            return Ok(());
        };
        let exec = session::exec(&body, exe, filename, cwd, argv);
        let found = if body.rule & HEIR_BY_FILE != 0 {
            self.by_file(&header, &body, &exec)?
        } else {
            self.by_name(&header, &exec)?
        };
        let Some(found) = found else {
            return Ok(());
        };
        let number = found.written.session;
        let Some(writer) = self.writer(number) else {
            return Ok(());
        };
        let joined = if self.heirs.policy == config::Heirs::Join {
            self.join(&header, number, &writer)?
        } else {
            None
        };
        let heir = proto::Heir {
            file: found.file.bytes.to_vec(),
            file_truncated: found.file.truncated,
            script: found.is_script,
            joined: joined.map(SessionId::to_bytes).unwrap_or_default(),
            written_boot_ns: found.written.time,
        };
        let of = (number, writer.id);
        let record = self.tracker.heir(&header, of, &exec, heir);
        self.heirs.untold.push((header.time, record));
        Ok(())
    }

    /// Records those whose writers' acts until then are recorded: news of an
    /// heir come faster, and a session begins with its start.
    /// `carried` is until when events were carried, ns.
    pub(super) fn tell_heirs(&mut self, carried: u64) {
        let is_due = |(time, _): &mut (u64, _)| *time + CARRIED_NS <= carried;
        let due: Vec<_> = self.heirs.untold.extract_if(.., is_due).collect();
        self.store(due.into_iter().map(|(_, record)| record));
    }

    fn writer(&self, number: SessionNumber) -> Option<Writer> {
        let live = self.tracker.registry.get(number).map(|session| Writer {
            id: session.id,
            agent: session.agent.clone(),
        });
        live.or_else(|| self.heirs.writers.get(&number).cloned())
    }

    /// The program's file is what the session wrote.
    fn by_file(
        &self,
        header: &Header,
        body: &ExecBody,
        exec: &proto::Exec,
    ) -> Result<Option<Inheritance>, Error> {
        let key = PlaceKey {
            ino: body.ino,
            dev: body.dev,
            spare: 0,
        };
        let written = self.kernel.writer_of(key)?.unwrap_or(Written {
            session: header.session,
            ..Written::default()
        });
        Ok(Some(Inheritance {
            file: KnownPath::new(&exec.exe, exec.exe_truncated),
            is_script: false,
            written,
        }))
    }

    /// What it was started by has the name of something that a session wrote: is it that?
    fn by_name(&self, header: &Header, exec: &proto::Exec) -> Result<Option<Inheritance>, Error> {
        let mounts = Mounts::read();
        let interpreter = name_of(&exec.exe).unwrap_or_default();
        let interpreter = String::from_utf8_lossy(interpreter);
        let is_script = |position: usize, name: &[u8]| {
            after_script(&interpreter, &exec.argv, name) == Some(position + 1)
        };
        let arguments = exec.argv.iter().enumerate();
        let given = arguments
            // As many as the kernel looks at.
            .take(SCRIPT_ARGS as usize)
            .filter(|(position, argument)| {
                name_of(argument).is_some_and(|name| is_script(*position, name))
            })
            .map(|(_, argument)| argument);
        for given in std::iter::once(&exec.filename).chain(given) {
            let cwd = Path::new(OsStr::from_bytes(&exec.cwd));
            let given = Path::new(OsStr::from_bytes(given));
            // Without `.`; where `..` leads, only the file system knows.
            let shown: PathBuf = cwd.join(given).components().collect();
            let truncated = exec.cwd_truncated && given.is_relative();
            let written = if truncated {
                let cwd = PathBuf::from(format!("/proc/{}/cwd", header.pid));
                self.written_file(&mounts, &cwd.join(given))?
            } else {
                self.written_at(&mounts, header.pid, &shown)?
            };
            if let Some(written) = written {
                return Ok(Some(Inheritance {
                    file: KnownPath::new(shown.as_os_str().as_bytes(), truncated),
                    is_script: true,
                    written,
                }));
            }
        }
        Ok(None)
    }

    /// What a session wrote where a process sees this path: by its root, as long as it has one.
    fn written_at(&self, mounts: &Mounts, pid: u32, path: &Path) -> Result<Option<Written>, Error> {
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        let below = root.join(path.strip_prefix("/").unwrap_or(path));
        let found = self.written_file(mounts, &below)?;
        if found.is_some() || root.exists() {
            return Ok(found);
        }
        // It has ended, perhaps between these two lines, and nobody can tell any more.
        self.written_file(mounts, path)
    }

    fn written_file(&self, mounts: &Mounts, file: &Path) -> Result<Option<Written>, Error> {
        let Some(key) = mounts.key_of(file) else {
            return Ok(None);
        };
        let written = self.kernel.writer_of(key)?;
        Ok(written.filter(|written| is_that_file(file, written)))
    }

    /// Puts an heir and its descendants into the writer's session; into a new
    /// one where that has ended. `None` when it has ended itself.
    fn join(
        &mut self,
        header: &Header,
        number: SessionNumber,
        writer: &Writer,
    ) -> Result<Option<SessionId>, Error> {
        let pid = header.pid;
        if !is_that_process(header) {
            return Ok(None);
        }
        let live = self.tracker.registry.get(number).map(|session| session.id);
        let (number, id) = match live {
            Some(id) => (number, id),
            None => self.inherit(pid, writer)?,
        };
        let mut joined = false;
        for _ in 0..MAX_PASSES {
            let mut new = 0;
            for member in with_descendants(pid) {
                let tags = self.kernel.tags();
                let is_free = guard::is_member(tags, member) == Some(false);
                let tag = Tag::new(number, session::boot_ns());
                if is_free && tags.set_process(member, tag).is_ok() {
                    new += 1;
                    joined |= member == pid;
                    self.tracker.join(number, member);
                }
            }
            if new == 0 {
                break;
            }
        }
        if live.is_none() && !joined {
            self.tracker.leave(number, pid);
            self.end(number, proto::EndReason::Exited)?;
        }
        Ok(joined.then_some(id))
    }

    /// A session for the heir of one that has ended.
    fn inherit(&mut self, pid: u32, writer: &Writer) -> Result<(SessionNumber, SessionId), Error> {
        self.next_session += 1;
        let number = self.next_session;
        self.kernel.begin_session(number)?;
        let id = self.tracker.begin_session(Begin {
            number,
            agent: writer.agent.clone(),
            rule: "heir".to_owned(),
            name: writer.id.to_string(),
            origin: proto::Origin::Inherited,
            root: pid,
            authority: authority::of_process(pid),
        });
        let start = self.tracker.started(number);
        self.store(start);
        self.keep();
        Ok((number, id))
    }
}

/// Whether the process of this number is still the one that the header is of:
/// /proc/PID/stat has its start in ticks (proc_pid_stat(5)).
fn is_that_process(header: &Header) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", header.pid)) else {
        return false;
    };
    // The name is in parentheses, and can hold anything.
    let after = stat.rsplit_once(") ").map(|(_, after)| after);
    let start: Option<u64> = after.and_then(|after| after.split(' ').nth(19)?.parse().ok());
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    start == Some(header.start_time / tick)
}

fn name_of(path: &[u8]) -> Option<&[u8]> {
    let name = Path::new(OsStr::from_bytes(path)).file_name();
    name.map(OsStr::as_bytes)
}

/// Clocks are read one after the other, and file systems give times by ticks.
const SLACK: Duration = Duration::from_secs(1);

/// Whether the file is the one that was written, and not a later one of the
/// same number: that was made after.
fn is_that_file(file: &Path, written: &Written) -> bool {
    let Ok(about) = fs::metadata(file) else {
        return false;
    };
    let Ok(born) = about.created() else {
        // This file system does not say.
        return about.nlink() > 0;
    };
    let since = Duration::from_nanos(session::boot_ns().saturating_sub(written.time));
    let at = std::time::SystemTime::now()
        .checked_sub(since)
        .and_then(|at| at.checked_add(SLACK));
    at.is_none_or(|at| born <= at)
}
