//! Loads and configures the kernel programs and their maps, and holds them:
//! dropping [`Kernel`] takes them out again.
//!
//! Not here: which programs make a profile, and whether it works (`hooks`).

use std::os::fd::AsFd as _;
use std::path::Path;

use agent_recorder_abi::event::{KINDS, TROUBLES};
use agent_recorder_abi::heir::Written;
use agent_recorder_abi::limits::AREAS;
use agent_recorder_abi::own::OwnKey;
use agent_recorder_abi::policy::{
    GUARD_DENY, GUARD_FREEZE, GUARD_KILL, GuardConfig, NameKey, Place, PlaceKey,
};
use agent_recorder_abi::rule::RuleKey;
use agent_recorder_abi::state::{Session, SessionNumber};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::{Btf, Ebpf, EbpfLoader};

use super::calls::Calls;
use super::error::{chain, map_error, missing, refused};
use super::hooks;
use super::known::Known;
use super::links::Links;
use super::maps::{sum, take};
use super::modify_return::Deciders;
use super::names::Names;
use super::offsets::{self, Resolved};
use super::own::OwnKeys;
use super::preempt::{self, Preemption};
use super::programs::{Absent, Profile};
use super::source::Source;
use super::{Counters, Error, Rings, Tags, bpf};

/// The object, built by `cargo xtask build`; aligned, for it is parsed in place.
static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/agent-recorder.bpf.o"));
/// The same programs on what kernels without bpf_loop have.
static OLD_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/agent-recorder-old.bpf.o"));

/// What is decided before load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ring of exec, exit, fork, deletes and the guard, bytes: a power of two, at least a page.
    pub priority_ring_bytes: u32,
    /// Ring of all else.
    pub bulk_ring_bytes: u32,
    /// The guard's budgets.
    pub guard: GuardConfig,
    /// Names that the guard's policy knows.
    pub names: Vec<(NameKey, u32)>,
    /// Agent rules and their numbers, from 1.
    pub rules: Vec<(RuleKey, u32)>,
    /// Names of gated programs, and their values (`agent_recorder_abi::held`).
    pub gated: Vec<(RuleKey, u32)>,
    /// Profiles to try, the most wanted first.
    pub profiles: Vec<Profile>,
}

/// A session's state as 64-bit words, which aya knows how to store.
type SessionWords = [u64; size_of::<Session>() / 8];
const _: () = assert!(size_of::<SessionWords>() == size_of::<Session>());

/// The loaded programs and their maps.
pub struct Kernel {
    bpf: Ebpf,
    deciders: Deciders,
    links: Links,
    profile: Profile,
    passed_over: Vec<(Profile, Error)>,
    not_refusing: Option<Error>,
    absent: Vec<Absent>,
    is_old: bool,
    produced: PerCpuArray<MapData, u64>,
    lost: PerCpuArray<MapData, u64>,
    trouble: PerCpuArray<MapData, u64>,
    sessions: HashMap<MapData, SessionNumber, SessionWords>,
    adopting: Array<MapData, u32>,
    lineage: HashMap<MapData, u32, u32>,
    known: Known,
    written: MapData,
    calls: Calls,
    names: Names,
    own: OwnKeys,
    tags: Tags,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads everything of the first profile that works, and attaches nothing:
    /// tags can be set and rings be read before the first event.
    ///
    /// # Errors
    ///
    /// No object in this binary, no BTF, no permission, or a kernel that
    /// refuses every profile that was named: the last one's reason.
    pub fn load(options: &Options) -> Result<(Self, Rings), Error> {
        if OBJECT.is_empty() || OLD_OBJECT.is_empty() {
            return Err(Error::NoObject);
        }
        let path = Path::new(offsets::VMLINUX);
        let btf = read_btf(path)?;
        let resolved = offsets::resolve(path, &btf)?;
        let object = object_for(&resolved);
        let mut source = Source {
            linked: preempt::link(object, &btf, Preemption::Unchanged),
            btf: &btf,
            resolved: &resolved,
            copied: false,
        };
        source.copied = source
            .linked
            .tracepoints_are_preemptible(&btf, || load_probes(&source))?;
        if source.copied {
            source.linked = preempt::link(object, &btf, Preemption::Off);
        }
        let mut passed_over = Vec::new();
        for &profile in &options.profiles {
            match Self::load_profile(options, profile, &source) {
                Ok((mut kernel, rings)) => {
                    kernel.passed_over = passed_over;
                    return Ok((kernel, rings));
                }
                Err(error) => passed_over.push((profile, error)),
            }
        }
        let last = passed_over.pop().map(|(_, error)| error);
        Err(last.unwrap_or_else(|| Error::Object("no profile was named".to_owned())))
    }

    /// With its guard refusing, where the kernel takes that.
    fn load_profile(
        options: &Options,
        profile: Profile,
        source: &Source<'_>,
    ) -> Result<(Self, Rings), Error> {
        let refuses = profile.can_refuse();
        match Self::load_programs(options, profile, refuses, source) {
            Err(why @ Error::CannotRefuse { .. }) => {
                let (mut kernel, rings) = Self::load_programs(options, profile, false, source)?;
                kernel.not_refusing = Some(why);
                Ok((kernel, rings))
            }
            result => result,
        }
    }

    fn load_programs(
        options: &Options,
        profile: Profile,
        refuses: bool,
        source: &Source<'_>,
    ) -> Result<(Self, Rings), Error> {
        let Source { btf, resolved, .. } = *source;
        if profile.sees() && !resolved.has_helpers && resolved.preempts_trampolines {
            return Err(Error::Preempted { profile });
        }
        let mut bpf = load_object(options, profile, refuses, source)?;
        hooks::probe(&mut bpf, btf, profile)?;
        let deciding = hooks::deciding(btf, profile, refuses);
        let deciders = Deciders::load(source.linked.bytes(), &bpf, btf, &deciding)?;
        hooks::load(&mut bpf, source, profile, &deciders)?;
        let mut calls = Calls::new(&mut bpf)?;
        calls.fill()?;
        let names = Names::fill(&mut bpf, options)?;
        let rings = Rings::new(
            take(&mut bpf, "PRIORITY", RingBuf::try_from)?,
            take(&mut bpf, "BULK", RingBuf::try_from)?,
            take(&mut bpf, "GATES", RingBuf::try_from)?,
        )?;
        let tags = match bpf.take_map("TAGS") {
            Some(Map::Unsupported(map)) => Tags::on_tasks(map),
            Some(Map::HashMap(map)) => Tags::by_thread(map),
            _ => return Err(missing("TAGS")),
        };
        let kernel = Self {
            produced: take(&mut bpf, "PRODUCED", PerCpuArray::try_from)?,
            lost: take(&mut bpf, "LOST", PerCpuArray::try_from)?,
            trouble: take(&mut bpf, "TROUBLE", PerCpuArray::try_from)?,
            sessions: take(&mut bpf, "SESSIONS", HashMap::try_from)?,
            adopting: take(&mut bpf, "ADOPTING", Array::try_from)?,
            lineage: take(&mut bpf, "LINEAGE", HashMap::try_from)?,
            known: Known::new(&mut bpf, &options.names)?,
            written: match bpf.take_map("WRITTEN") {
                Some(Map::LruHashMap(map)) => map,
                _ => return Err(missing("WRITTEN")),
            },
            calls,
            names,
            own: OwnKeys::new(&mut bpf)?,
            tags,
            absent: hooks::absent(&bpf, profile, &deciders),
            is_old: !resolved.has_helpers,
            bpf,
            deciders,
            links: Links::default(),
            profile,
            passed_over: Vec::new(),
            not_refusing: None,
        };
        Ok((kernel, rings))
    }

    /// Attaches every program. They come off when `self` is dropped.
    ///
    /// # Errors
    ///
    /// The kernel refuses one.
    pub fn attach(&mut self) -> Result<(), Error> {
        self.deciders.attach()?;
        self.links.attach(&mut self.bpf, self.profile, true)?;
        self.own.look()
    }

    /// Attaches every program anew, and puts back what they know of system
    /// calls and names: something of that was taken away. 5.10 does not attach
    /// a program of a trampoline a second time; those stay as they are there.
    ///
    /// # Errors
    ///
    /// The kernel refuses one, the others are attached; or a map cannot be written.
    pub fn mend(&mut self) -> Result<(), Error> {
        let again = !self.is_old;
        let decide = if again {
            self.deciders.attach()
        } else {
            Ok(())
        };
        let links = self.links.attach(&mut self.bpf, self.profile, again);
        self.calls.fill()?;
        self.names.restore()?;
        self.own.look()?;
        decide.and(links)
    }

    /// The number of one of its maps.
    pub fn own_map(&self) -> Option<u64> {
        self.own.map_number()
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// Whether the guard refuses what goes over its limit. Where it does not,
    /// it ends the session at the exit of the call that meets it.
    pub fn refuses(&self) -> bool {
        self.profile.can_refuse() && self.not_refusing.is_none()
    }

    /// Whether the guard sees what an operation is about to destroy; where it
    /// does not, every deleted name counts.
    pub fn sees_victims(&self) -> bool {
        self.profile.sees() || hooks::are_touched(&self.bpf)
    }

    /// Why the guard does not refuse in a profile in which it could.
    pub fn not_refusing(&self) -> Option<&Error> {
        self.not_refusing.as_ref()
    }

    /// Hooks that this kernel lacks, and what is therefore not recorded.
    pub fn absent(&self) -> &[Absent] {
        &self.absent
    }

    /// Whether the programs are those for kernels without bpf_loop (before 5.17).
    pub fn is_old(&self) -> bool {
        self.is_old
    }

    /// Instructions that the verifier went through for each program, by name.
    pub fn verified(&self) -> Vec<(String, u32)> {
        hooks::verified(&self.bpf, &self.deciders)
    }

    /// Profiles that were more wanted, and why they are not in use.
    pub fn passed_over(&self) -> &[(Profile, Error)] {
        &self.passed_over
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
        counters.skipped = hooks::skipped(&self.bpf, &self.deciders)?;
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
        words[SESSION_FROZEN] = 0;
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

    /// The session goes on, and its budgets begin anew.
    ///
    /// # Errors
    ///
    /// The session is not counted, or the map cannot be written.
    pub fn pardon(&mut self, number: SessionNumber) -> Result<(), Error> {
        let mut words = self.session_words(number)?;
        words[SESSION_CONDEMNED] = 0;
        words[SESSION_FROZEN] = 0;
        words[SESSION_TIMES..].fill(0);
        self.sessions
            .insert(number, words, 0)
            .map_err(|error| map_error("SESSIONS", &error))
    }

    /// Replaces the directories that the guard's policy names.
    ///
    /// # Errors
    ///
    /// The map cannot be read or written, or is full.
    pub fn set_places(
        &mut self,
        places: &std::collections::HashMap<PlaceKey, Place>,
    ) -> Result<(), Error> {
        self.known.set_places(places)
    }

    /// Keeps members of sessions from this process, its programs, maps and
    /// links, and from these files, where [`Kernel::refuses`].
    ///
    /// # Errors
    ///
    /// As for [`Kernel::set_places`].
    pub fn set_own(&mut self, files: &[OwnKey]) -> Result<(), Error> {
        self.own.set(files)
    }

    /// Replaces the programs that are known by their files, and by their sizes (bytes).
    ///
    /// # Errors
    ///
    /// As for [`Kernel::set_places`].
    pub fn set_programs(
        &mut self,
        programs: &std::collections::HashMap<PlaceKey, u32>,
        sizes: &std::collections::BTreeMap<u64, u32>,
    ) -> Result<(), Error> {
        self.known.set_programs(programs, sizes)
    }

    /// Maps whose contents somebody else changed since this was asked last; they
    /// hold again what they are to hold. Not that of system calls, nor those
    /// that the kernel programs write.
    ///
    /// # Errors
    ///
    /// A map cannot be read or written.
    pub fn changed(&mut self) -> Result<Vec<&'static str>, Error> {
        let mut changed = self.known.changed()?;
        changed.extend(self.own.changed());
        changed.extend(self.names.changed()?);
        Ok(changed)
    }

    /// Has the kernel tell of who starts a script of this name, outside of
    /// sessions: one of them wrote a file that is called so.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn add_written_name(&mut self, name: &[u8]) -> Result<(), Error> {
        self.names.add_written(name)
    }

    /// Which session wrote a file, if one did.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn writer_of(&self, file: PlaceKey) -> Result<Option<Written>, Error> {
        bpf::look_up(self.written.fd().as_fd(), file).map_err(|source| Error::System {
            what: "bpf(2) on the map of written files",
            source,
        })
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
const SESSION_FROZEN: usize = std::mem::offset_of!(Session, frozen) / 8;
/// From here on, all is times: of files, and of steps.
const SESSION_TIMES: usize = std::mem::offset_of!(Session, times) / 8;

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

fn object_for(resolved: &Resolved) -> &'static [u8] {
    if resolved.has_helpers {
        OBJECT
    } else {
        OLD_OBJECT
    }
}

/// Maps whose size matters only to those who record.
const LARGE: [&str; 11] = [
    "SESSIONS",
    "SEEN",
    "SOCKETS",
    "DESCRIPTORS",
    "PEERS",
    "KNOWN",
    "FORESEEN",
    "CUTS",
    "GIVEN",
    "URING",
    "LINEAGE",
];

/// The object for a probe of the kernel: with little room, which is sooner made.
fn load_probes(source: &Source<'_>) -> Result<Ebpf, Error> {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX);
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(source.btf))
        .allow_unsupported_maps()
        .map_max_entries("PRIORITY", page)
        .map_max_entries("BULK", page);
    for map in LARGE {
        loader.map_max_entries(map, 1);
    }
    loaded(&mut loader, source)
}

fn loaded(loader: &mut EbpfLoader<'_>, source: &Source<'_>) -> Result<Ebpf, Error> {
    loader
        .load(source.linked.bytes())
        .map_err(|error| refused(&error).unwrap_or_else(|| Error::Object(chain(&error))))
}

fn load_object(
    options: &Options,
    profile: Profile,
    refuses: bool,
    source: &Source<'_>,
) -> Result<Ebpf, Error> {
    let cpus = aya::util::nr_cpus().map_err(|(_, source)| Error::System {
        what: "counting the CPUs",
        source,
    })?;
    let cpus = u32::try_from(cpus).unwrap_or(u32::MAX / 2);
    let guard = effective(options.guard, refuses);
    let budgets = [guard.files, guard.files_long, guard.bytes, guard.bytes_long];
    let guard: Vec<u64> = std::iter::once(guard.action)
        .chain(budgets.iter().flat_map(|b| [b.steps, b.step, b.window]))
        .collect();
    let hooks = [
        u64::from(profile.sees()),
        u64::from(refuses && can_refuse(options.guard.action)),
        u64::from(source.copied),
        u64::from(!hooks::sends_are_traced(source.btf)),
        u64::from(!profile.sees() && hooks::times_are_traced(source.btf)),
        u64::from(refuses),
    ];
    let resolved = source.resolved;
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(source.btf))
        .allow_unsupported_maps()
        .override_global("OFFSETS", resolved.values.as_slice(), true)
        .override_global("GUARD", guard.as_slice(), true)
        .override_global("HOOKS", hooks.as_slice(), true)
        .override_global("FILE_ONE_REFERENCE", &resolved.file_one_reference, true)
        .map_max_entries("SCRATCH", AREAS.saturating_mul(cpus))
        .map_max_entries("PRIORITY", options.priority_ring_bytes)
        .map_max_entries("BULK", options.bulk_ring_bytes);
    loaded(&mut loader, source)
}

fn can_refuse(action: u64) -> bool {
    [GUARD_KILL, GUARD_DENY, GUARD_FREEZE].contains(&action)
}

/// Where nothing can be refused, `deny` ends the session instead: the next
/// strongest thing, and `Kernel::not_refusing` says so.
fn effective(guard: GuardConfig, refuses: bool) -> GuardConfig {
    if guard.action == GUARD_DENY && !refuses {
        GuardConfig {
            action: GUARD_KILL,
            ..guard
        }
    } else {
        guard
    }
}
