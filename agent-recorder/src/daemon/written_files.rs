//! Files that sessions wrote, and heirs: processes that start such files. This module
//! finds out which file an heir started, and records it; by configuration the heir
//! joins the session.
//!
//! The kernel recognises a program by its inode, but a script by its name only. So
//! the script is looked up among the arguments, and counts when a session wrote its
//! inode.
//!
//! Not here: beginning and ending the session that an heir joins (`recorder`).

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

use super::Error;
use super::core::Core;
use super::exec_gate::CARRIED_NS;
use super::processes::{is_that_process, with_descendants};
use crate::bpf::{Body, Event, Kernel, decode};
use crate::config;
use crate::guard;
use crate::guard::places::Mounts;
use crate::guard::script::after_script;
use crate::record::{SessionId, proto};
use crate::session::{self, Begin, KnownPath, authority};

/// Most passes over the descendants of an heir that joins. A pass that finds no new
/// one is the last.
const MAX_PASSES: usize = 20;
/// Number of writers that are remembered after their session's end.
const WRITERS: usize = 4096;

/// Sessions that wrote files, and heirs that are not recorded yet.
#[derive(Debug, Default)]
pub(super) struct WrittenFiles {
    policy: config::Heirs,
    writers: HashMap<SessionNumber, Writer>,
    /// Records of heirs, each with the time of its exec, CLOCK_BOOTTIME ns.
    unrecorded: Vec<(u64, proto::Record)>,
}

/// A session that wrote files.
#[derive(Clone, Debug)]
struct Writer {
    id: SessionId,
    agent: String,
}

/// A written file that was started, and its writer.
#[derive(Debug)]
struct WrittenFile {
    file: KnownPath,
    is_script: bool,
    written: Written,
}

/// A process outside sessions that started a program.
#[derive(Debug)]
pub(super) struct Starter {
    header: Header,
    body: ExecBody,
    exec: proto::Exec,
}

impl Starter {
    /// Decodes the event of its exec; `None` where the event is damaged, or of
    /// another kind.
    pub(super) fn decode(event: &[u8]) -> Option<Self> {
        match decode(event) {
            Ok(Event {
                header,
                body:
                    Body::Exec {
                        body,
                        exe,
                        filename,
                        cwd,
                        argv,
                    },
            }) => Some(Self {
                header,
                exec: session::exec(&body, exe, filename, cwd, argv),
                body,
            }),
            _ => None,
        }
    }
}

/// A process that started a file which a session wrote.
#[derive(Debug)]
pub(super) struct Heir {
    starter: Starter,
    found: WrittenFile,
    writer: Writer,
}

impl Heir {
    pub(super) fn pid(&self) -> u32 {
        self.starter.header.pid
    }

    /// The session that wrote the file; it may have ended.
    pub(super) fn writer(&self) -> SessionNumber {
        self.found.written.session
    }

    /// Whether the heir still runs.
    pub(super) fn is_there(&self) -> bool {
        is_that_process(&self.starter.header)
    }

    /// Begins a session for an heir whose writer's session has ended.
    ///
    /// # Errors
    ///
    /// The kernel's map of sessions is full.
    pub(super) fn begin_session(
        &self,
        core: &mut Core,
    ) -> Result<(SessionNumber, SessionId), Error> {
        let number = core.new_number();
        let id = core.begin_session(Begin {
            number,
            agent: self.writer.agent.clone(),
            rule: "heir".to_owned(),
            name: self.writer.id.to_string(),
            origin: proto::Origin::Inherited,
            root: self.pid(),
            authority: authority::of_process(self.pid()),
        })?;
        let start = core.tracker.started(number);
        core.store(start);
        Ok((number, id))
    }

    /// Puts the heir and its descendants into a session. False when the heir has
    /// ended.
    pub(super) fn join(&self, core: &mut Core, number: SessionNumber) -> bool {
        let mut joined = false;
        for _ in 0..MAX_PASSES {
            let mut new = 0;
            for member in with_descendants(self.pid()) {
                let tags = core.kernel.tags();
                let is_free = guard::is_member(tags, member) == Some(false);
                let tag = Tag::new(number, session::boot_ns());
                if is_free && tags.set_process(member, tag).is_ok() {
                    new += 1;
                    joined |= member == self.pid();
                    core.tracker.join(number, member);
                }
            }
            if new == 0 {
                break;
            }
        }
        joined
    }
}

impl WrittenFiles {
    pub(super) fn new(policy: config::Heirs) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// Whether some heirs have to be recorded within a moment.
    pub(super) fn is_pressing(&self) -> bool {
        !self.unrecorded.is_empty()
    }

    /// Whether the configuration turns heirs off.
    pub(super) fn is_off(&self) -> bool {
        self.policy == config::Heirs::Off
    }

    /// Whether the configuration lets heirs join the writer's session.
    pub(super) fn are_joining(&self) -> bool {
        self.policy == config::Heirs::Join
    }

    /// Remembers the files that sessions wrote in this batch.
    ///
    /// # Errors
    ///
    /// The kernel's map cannot be written.
    pub(super) fn on_batch(&mut self, core: &mut Core) -> Result<(), Error> {
        for (number, path) in core.tracker.take_written() {
            if self.is_off() {
                continue;
            }
            self.remember(core, number);
            if let Some(name) = name_of(&path) {
                core.kernel.add_written_name(name)?;
            }
        }
        Ok(())
    }

    fn remember(&mut self, core: &Core, number: SessionNumber) {
        if self.writers.contains_key(&number) {
            return;
        }
        if let Some(writer) = live_writer(core, number) {
            if self.writers.len() >= WRITERS {
                self.writers.clear();
            }
            self.writers.insert(number, writer);
        }
    }

    /// The heir, if this process started a file which a session wrote.
    ///
    /// # Errors
    ///
    /// The kernel's map cannot be read.
    pub(super) fn heir(&self, core: &Core, starter: Starter) -> Result<Option<Heir>, Error> {
        let found = if starter.body.rule & HEIR_BY_FILE != 0 {
            by_file(&core.kernel, &starter)?
        } else {
            by_name(&core.kernel, &starter)?
        };
        let Some(found) = found else {
            return Ok(None);
        };
        let number = found.written.session;
        let writer = live_writer(core, number).or_else(|| self.writers.get(&number).cloned());
        Ok(writer.map(|writer| Heir {
            starter,
            found,
            writer,
        }))
    }

    /// Stores the record of an heir until the writer's acts are recorded. `joined`:
    /// the session that the heir is in now.
    pub(super) fn met(&mut self, core: &mut Core, heir: Heir, joined: Option<SessionId>) {
        let of = (heir.writer(), heir.writer.id);
        let Heir { starter, found, .. } = heir;
        let heir = proto::Heir {
            file: found.file.bytes.to_vec(),
            file_truncated: found.file.truncated,
            script: found.is_script,
            joined: joined.map(SessionId::to_bytes).unwrap_or_default(),
            written_boot_ns: found.written.time,
        };
        let record = core.tracker.heir(&starter.header, of, &starter.exec, heir);
        self.unrecorded.push((starter.header.time, record));
    }

    /// Records heirs once their writers' acts up to the exec are recorded: the event
    /// of an heir arrives faster, and a session begins with its start. Events are
    /// carried until `carried`, ns.
    pub(super) fn on_tick(&mut self, core: &mut Core, carried: u64) {
        let is_due = |(time, _): &mut (u64, _)| *time + CARRIED_NS <= carried;
        let due: Vec<_> = self.unrecorded.extract_if(.., is_due).collect();
        core.store(due.into_iter().map(|(_, record)| record));
    }
}

fn live_writer(core: &Core, number: SessionNumber) -> Option<Writer> {
    let session = core.tracker.registry.get(number)?;
    Some(Writer {
        id: session.id,
        agent: session.agent.clone(),
    })
}

/// The written file, if the program's own file is one.
fn by_file(kernel: &Kernel, starter: &Starter) -> Result<Option<WrittenFile>, Error> {
    let Starter { header, body, exec } = starter;
    let key = PlaceKey {
        ino: body.ino,
        dev: body.dev,
        spare: 0,
    };
    let written = kernel.writer_of(key)?.unwrap_or(Written {
        session: header.session,
        ..Written::default()
    });
    Ok(Some(WrittenFile {
        file: KnownPath::new(&exec.exe, exec.exe_truncated),
        is_script: false,
        written,
    }))
}

/// The written script, if an argument has the name of a written file and leads to it.
fn by_name(kernel: &Kernel, starter: &Starter) -> Result<Option<WrittenFile>, Error> {
    let Starter { header, exec, .. } = starter;
    let mounts = Mounts::read();
    let interpreter = name_of(&exec.exe).unwrap_or_default();
    let interpreter = String::from_utf8_lossy(interpreter);
    let is_script = |position: usize, name: &[u8]| {
        after_script(&interpreter, &exec.argv, name) == Some(position + 1)
    };
    let arguments = exec.argv.iter().enumerate();
    let given = arguments
        // The kernel compares as many arguments.
        .take(SCRIPT_ARGS as usize)
        .filter(|(position, argument)| {
            name_of(argument).is_some_and(|name| is_script(*position, name))
        })
        .map(|(_, argument)| argument);
    for given in std::iter::once(&exec.filename).chain(given) {
        let cwd = Path::new(OsStr::from_bytes(&exec.cwd));
        // The path without `.`. Only the file system knows where `..` leads.
        let given = Path::new(OsStr::from_bytes(given));
        let shown: PathBuf = cwd.join(given).components().collect();
        let truncated = exec.cwd_truncated && given.is_relative();
        let written = if truncated {
            let cwd = PathBuf::from(format!("/proc/{}/cwd", header.pid));
            written_file(kernel, &mounts, &cwd.join(given))?
        } else {
            written_at(kernel, &mounts, header.pid, &shown)?
        };
        if let Some(written) = written {
            return Ok(Some(WrittenFile {
                file: KnownPath::new(shown.as_os_str().as_bytes(), truncated),
                is_script: true,
                written,
            }));
        }
    }
    Ok(None)
}

/// The written file at this path as a process sees it, by the process's root while it
/// runs.
fn written_at(
    kernel: &Kernel,
    mounts: &Mounts,
    pid: u32,
    path: &Path,
) -> Result<Option<Written>, Error> {
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let below = root.join(path.strip_prefix("/").unwrap_or(path));
    let found = written_file(kernel, mounts, &below)?;
    if found.is_some() || root.exists() {
        return Ok(found);
    }
    // The process has ended, perhaps between these two lines, and its root is
    // unknown.
    written_file(kernel, mounts, path)
}

fn written_file(kernel: &Kernel, mounts: &Mounts, file: &Path) -> Result<Option<Written>, Error> {
    let Some(key) = mounts.key_of(file) else {
        return Ok(None);
    };
    let written = kernel.writer_of(key)?;
    Ok(written.filter(|written| is_that_file(file, written)))
}

fn name_of(path: &[u8]) -> Option<&[u8]> {
    let name = Path::new(OsStr::from_bytes(path)).file_name();
    name.map(OsStr::as_bytes)
}

/// Tolerance between the two clocks, which are read one after the other, and the
/// ticks of file times.
const SLACK: Duration = Duration::from_secs(1);

/// Whether the file is the one that was written, and not a later one with the same
/// inode number: that one has a later birth time.
fn is_that_file(file: &Path, written: &Written) -> bool {
    let Ok(about) = fs::metadata(file) else {
        return false;
    };
    let Ok(born) = about.created() else {
        // A file system without birth times cannot tell.
        return about.nlink() > 0;
    };
    let since = Duration::from_nanos(session::boot_ns().saturating_sub(written.time));
    let at = std::time::SystemTime::now()
        .checked_sub(since)
        .and_then(|at| at.checked_add(SLACK));
    at.is_none_or(|at| born <= at)
}
