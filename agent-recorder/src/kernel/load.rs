//! Loads, configures and attaches the kernel programs of the tracepoint
//! profile, and holds them: dropping [`Kernel`] takes them out again.

use std::path::Path;

use agent_recorder_abi::event::{KINDS, TROUBLES};
use agent_recorder_abi::limits::{MAX_LIMIT, SYSCALL_NUMBERS};
use agent_recorder_abi::rule::{ENVIRONMENT, ENVIRONMENT_NAME, RuleKey};
use agent_recorder_abi::state::{GuardConfig, Session, SessionNumber};
use agent_recorder_abi::syscalls::{IA32, Spec, X86_64};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf, EbpfLoader};

use super::offsets::{self, Resolved};
use super::{Counters, Error, Rings, Tags};

/// The object, built by `cargo xtask build`; aligned, for it is parsed in place.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/agent-recorder.bpf.o"));

/// What is decided before load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ring of exec, exit, fork, deletes and the guard, bytes: a power of two, at least a page.
    pub priority_ring_bytes: u32,
    /// Ring of all else.
    pub bulk_ring_bytes: u32,
    /// The guard's limit.
    pub guard: GuardConfig,
    /// Agent rules and their numbers, from 1.
    pub rules: Vec<(RuleKey, u32)>,
}

/// The programs of the tracepoint profile: name and tracepoint.
const PROGRAMS: &[(&str, &str)] = &[
    ("task_newtask", "task_newtask"),
    ("sched_process_exec", "sched_process_exec"),
    ("sched_process_exit", "sched_process_exit"),
    ("inet_sock_set_state", "inet_sock_set_state"),
    ("sock_send_length", "sock_send_length"),
    ("sock_recv_length", "sock_recv_length"),
    ("io_uring_submit_req", "io_uring_submit_req"),
    ("sys_exit", "sys_exit"),
];
const COMPLETE: &str = "io_uring_complete";
const COMPLETE_BY_VALUE: &str = "io_uring_complete_by_value";

/// A session's state as 64-bit words, which aya knows how to store.
type SessionWords = [u64; size_of::<Session>() / 8];
const _: () = assert!(size_of::<SessionWords>() == size_of::<Session>());

/// The loaded programs and their maps.
pub struct Kernel {
    bpf: Ebpf,
    produced: PerCpuArray<MapData, u64>,
    lost: PerCpuArray<MapData, u64>,
    trouble: PerCpuArray<MapData, u64>,
    sessions: HashMap<MapData, SessionNumber, SessionWords>,
    adopting: Array<MapData, u32>,
    lineage: HashMap<MapData, u32, u32>,
    tags: Tags,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads everything and attaches nothing: tags can be set and rings be read before the first event.
    ///
    /// # Errors
    ///
    /// No object in this binary, no BTF, no permission, or a kernel that refuses a program.
    pub fn load(options: &Options) -> Result<(Self, Rings), Error> {
        if OBJECT.is_empty() {
            return Err(Error::NoObject);
        }
        let path = Path::new(offsets::VMLINUX);
        let btf = read_btf(path)?;
        let resolved = offsets::resolve(path, &btf)?;
        let mut bpf = load_object(options, &btf, &resolved)?;
        load_programs(&mut bpf, &btf, &resolved)?;
        fill_tables(&mut bpf, options)?;
        let rings = Rings::new(
            take(&mut bpf, "PRIORITY", RingBuf::try_from)?,
            take(&mut bpf, "BULK", RingBuf::try_from)?,
        )?;
        let Some(Map::Unsupported(tags)) = bpf.take_map("TAGS") else {
            return Err(missing("TAGS"));
        };
        let kernel = Self {
            produced: take(&mut bpf, "PRODUCED", PerCpuArray::try_from)?,
            lost: take(&mut bpf, "LOST", PerCpuArray::try_from)?,
            trouble: take(&mut bpf, "TROUBLE", PerCpuArray::try_from)?,
            sessions: take(&mut bpf, "SESSIONS", HashMap::try_from)?,
            adopting: take(&mut bpf, "ADOPTING", Array::try_from)?,
            lineage: take(&mut bpf, "LINEAGE", HashMap::try_from)?,
            tags: Tags::new(tags),
            bpf,
        };
        Ok((kernel, rings))
    }

    /// Attaches every program. They come off when `self` is dropped.
    ///
    /// # Errors
    ///
    /// The kernel refuses one.
    pub fn attach(&mut self) -> Result<(), Error> {
        let names = PROGRAMS
            .iter()
            .map(|(name, _)| *name)
            .chain([COMPLETE, COMPLETE_BY_VALUE]);
        for name in names {
            let program = tracepoint(&mut self.bpf, name)?;
            if program.fd().is_ok() {
                program
                    .attach()
                    .map_err(|error| program_error("attach", name, &error))?;
            }
        }
        Ok(())
    }

    /// The tags.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// What was made and lost so far.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        let mut counters = Counters::default();
        for kind in 0..KINDS {
            // Lost first: an event in between then shows as made and not lost, never the other way round.
            counters.lost[kind] = sum(&self.lost, "LOST", kind)?;
            counters.produced[kind] = sum(&self.produced, "PRODUCED", kind)?;
        }
        for trouble in 0..TROUBLES {
            counters.troubles[trouble] = sum(&self.trouble, "TROUBLE", trouble)?;
        }
        Ok(counters)
    }

    /// Makes the counters of a session that user space begins, with no process in it yet.
    ///
    /// # Errors
    ///
    /// The map is full.
    pub fn begin_session(&mut self, number: SessionNumber) -> Result<(), Error> {
        self.sessions
            .insert(number, [0; size_of::<Session>() / 8], 0)
            .map_err(|error| map_error("SESSIONS", &error))
    }

    /// From now on every member dies at its next recorded call. A delete that is
    /// counted in the kernel at this very moment can go missing from the count.
    ///
    /// # Errors
    ///
    /// The session is not counted, or the map cannot be written.
    pub fn condemn(&mut self, number: SessionNumber) -> Result<(), Error> {
        let mut words = self.session_words(number)?;
        words[SESSION_CONDEMNED] = 1;
        self.sessions
            .insert(number, words, 0)
            .map_err(|error| map_error("SESSIONS", &error))
    }

    /// Files that the session has destroyed.
    ///
    /// # Errors
    ///
    /// The session is not counted, or the map cannot be read.
    pub fn destroyed(&self, number: SessionNumber) -> Result<u64, Error> {
        Ok(self.session_words(number)?[SESSION_DESTROYED])
    }

    /// Forgets an ended session's counters.
    pub fn end_session(&mut self, number: SessionNumber) {
        // Absent already: the kernel had no room for it when it began.
        let _ = self.sessions.remove(&number);
    }

    /// Has the kernel remember every fork outside sessions, or stop doing so.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn set_adopting(&mut self, on: bool) -> Result<(), Error> {
        self.adopting
            .set(0, u32::from(on), 0)
            .map_err(|error| map_error("ADOPTING", &error))
    }

    /// The forks that were remembered: child → parent.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn lineage(&self) -> Result<std::collections::HashMap<u32, u32>, Error> {
        self.lineage
            .iter()
            .collect::<Result<_, _>>()
            .map_err(|error| map_error("LINEAGE", &error))
    }

    fn session_words(&self, number: SessionNumber) -> Result<SessionWords, Error> {
        self.sessions
            .get(&number, 0)
            .map_err(|error| map_error("SESSIONS", &error))
    }
}

const SESSION_DESTROYED: usize = std::mem::offset_of!(Session, destroyed) / 8;
const SESSION_CONDEMNED: usize = std::mem::offset_of!(Session, condemned) / 8;

fn read_btf(path: &Path) -> Result<Btf, Error> {
    if let Err(source) = std::fs::metadata(path) {
        return Err(Error::NoBtf {
            path: path.to_owned(),
            source,
        });
    }
    Btf::parse_file(path, aya::Endianness::default()).map_err(|error| Error::BadBtf {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

fn load_object(options: &Options, btf: &Btf, resolved: &Resolved) -> Result<Ebpf, Error> {
    let GuardConfig {
        action,
        limit,
        window,
    } = options.guard;
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| Error::System {
        what: "counting the CPUs",
        source,
    })?;
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX / 2);
    let guard = [action, limit.min(MAX_LIMIT as u64), window];
    EbpfLoader::new()
        .btf(Some(btf))
        .allow_unsupported_maps()
        .override_global("OFFSETS", resolved.values.as_slice(), true)
        .override_global("GUARD", guard.as_slice(), true)
        .override_global("FILE_ONE_REFERENCE", &resolved.file_one_reference, true)
        .map_max_entries("SCRATCH", 2 * cpus)
        .map_max_entries("PRIORITY", options.priority_ring_bytes)
        .map_max_entries("BULK", options.bulk_ring_bytes)
        .load(OBJECT)
        .map_err(|error| refused(&error).unwrap_or_else(|| Error::Object(chain(&error))))
}

fn load_programs(bpf: &mut Ebpf, btf: &Btf, resolved: &Resolved) -> Result<(), Error> {
    let complete = if resolved.completion_by_pointer {
        COMPLETE
    } else {
        COMPLETE_BY_VALUE
    };
    for &(name, hook) in PROGRAMS.iter().chain(&[(complete, COMPLETE)]) {
        tracepoint(bpf, name)?.load(hook, btf).map_err(|error| {
            refused(&error).unwrap_or_else(|| program_error("load", name, &error))
        })?;
    }
    Ok(())
}

fn tracepoint<'a>(bpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut BtfTracePoint, Error> {
    bpf.program_mut(name)
        .ok_or_else(|| Error::Object(format!("it lacks the program `{name}`")))?
        .try_into()
        .map_err(|error| program_error("load", name, &error))
}

fn fill_tables(bpf: &mut Ebpf, options: &Options) -> Result<(), Error> {
    let mut calls: Array<_, [u8; size_of::<Spec>()]> = take(bpf, "SYSCALLS", Array::try_from)?;
    let offset_rows = X86_64.iter().map(|row| (row.0, row.1));
    let compat_rows = IA32.iter().map(|row| (row.0 + SYSCALL_NUMBERS, row.1));
    for (number, spec) in offset_rows.chain(compat_rows) {
        calls
            .set(number, bytes_of(spec), 0)
            .map_err(|error| map_error("SYSCALLS", &error))?;
    }
    let mut rules: HashMap<_, [u8; size_of::<RuleKey>()], u32> =
        take(bpf, "RULES", HashMap::try_from)?;
    let mut prefixes: HashMap<_, u64, u32> = take(bpf, "ENVIRONMENT", HashMap::try_from)?;
    for &(key, number) in &options.rules {
        rules
            .insert(bytes_of(key), number, 0)
            .map_err(|error| map_error("RULES", &error))?;
        if let Some(prefix) = environment_prefix(&key)? {
            prefixes
                .insert(prefix, number, 0)
                .map_err(|error| map_error("ENVIRONMENT", &error))?;
        }
    }
    Ok(())
}

/// The first eight bytes that an entry with this pattern has in memory.
fn environment_prefix(key: &RuleKey) -> Result<Option<u64>, Error> {
    let after = match key.kind {
        ENVIRONMENT => b'\0',
        ENVIRONMENT_NAME => b'=',
        _ => return Ok(None),
    };
    let mut bytes = key.pattern.to_vec();
    bytes.truncate(key.len as usize);
    bytes.push(after);
    match bytes.first_chunk::<8>() {
        Some(prefix) => Ok(Some(u64::from_ne_bytes(*prefix))),
        None => Err(Error::Rule {
            pattern: String::from_utf8_lossy(&bytes[..key.len as usize]).into_owned(),
            why: "an environment mark needs at least seven bytes",
        }),
    }
}

fn bytes_of<T: agent_recorder_abi::Pod, const SIZE: usize>(value: T) -> [u8; SIZE] {
    const { assert!(size_of::<T>() == SIZE) };
    let mut bytes = [0; SIZE];
    // SAFETY: T is Pod, without padding, and of that size.
    unsafe { std::ptr::copy_nonoverlapping((&raw const value).cast(), bytes.as_mut_ptr(), SIZE) };
    bytes
}

fn take<T>(
    bpf: &mut Ebpf,
    name: &'static str,
    convert: impl FnOnce(Map) -> Result<T, aya::maps::MapError>,
) -> Result<T, Error> {
    let map = bpf.take_map(name).ok_or_else(|| missing(name))?;
    convert(map).map_err(|error| map_error(name, &error))
}

fn sum(map: &PerCpuArray<MapData, u64>, name: &'static str, index: usize) -> Result<u64, Error> {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let values = map
        .get(&index, 0)
        .map_err(|error| map_error(name, &error))?;
    Ok(values.iter().sum())
}

fn missing(name: &'static str) -> Error {
    Error::Map {
        map: name,
        message: "the object lacks it".to_owned(),
    }
}

fn map_error(map: &'static str, error: &dyn std::error::Error) -> Error {
    Error::Map {
        map,
        message: chain(error),
    }
}

fn program_error(
    what: &'static str,
    program: &'static str,
    error: &dyn std::error::Error,
) -> Error {
    Error::Program {
        what,
        program,
        message: chain(error),
    }
}

/// EPERM anywhere among the causes: the remedy is a right, not another kernel.
fn refused(error: &(dyn std::error::Error + 'static)) -> Option<Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let system = error.downcast_ref::<std::io::Error>();
        if system.and_then(std::io::Error::raw_os_error) == Some(libc::EPERM) {
            return Some(Error::NoPermission);
        }
        cause = error.source();
    }
    None
}

/// An error and its causes on one line; a verifier's log keeps its last lines only.
fn chain(error: &dyn std::error::Error) -> String {
    const KEPT: usize = 2000;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    let from = text.len().saturating_sub(KEPT);
    let from = (from..=text.len())
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    text[from..].to_owned()
}
