//! Loads and configures the kernel programs and their maps, and holds them:
//! dropping [`Kernel`] takes them out again.
//!
//! Not here: loading a profile's programs (`loaded`), and which those are (`programs`).

use std::os::fd::AsFd as _;

use agent_recorder_abi::agent_rule::RuleKey;
use agent_recorder_abi::event::{KINDS, TROUBLES};
use agent_recorder_abi::policy::{GuardConfig, NameKey, Place, PlaceKey};
use agent_recorder_abi::self_protection::OwnKey;
use agent_recorder_abi::state::{Session, SessionNumber};
use agent_recorder_abi::written_file::Written;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};

use super::attached::Attached;
use super::calls::Calls;
use super::error::{map_error, missing};
use super::known::Known;
use super::loaded::{Host, Loaded, load_profile};
use super::maps::{Maps, sum, take};
use super::names::Names;
use super::object::load_probes;
use super::own::OwnKeys;
use super::pins::{Generation, Name, Pins};
use super::preempt::{self, Preemption};
use super::previous::Previous;
use super::programs::{Absent, Profile};
use super::source::Source;
use super::{Counters, Error, Rings, Tags, bpf};
use crate::fault;

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
    /// Names of gated programs, and their values (`agent_recorder_abi::exec_gate`).
    pub gated: Vec<(RuleKey, u32)>,
    /// Profiles to try, the most wanted first.
    pub profiles: Vec<Profile>,
}

/// A session's state as 64-bit words, which aya knows how to store.
pub(super) type SessionWords = [u64; size_of::<Session>() / 8];
const _: () = assert!(size_of::<SessionWords>() == size_of::<Session>());

/// What the guard in the kernel did to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condemned {
    /// Nothing.
    No,
    /// Its members are stopped at their next recorded call, and right after the
    /// limit was met at any call.
    Frozen,
    /// They die there.
    Killed,
}

impl Condemned {
    fn of(words: &SessionWords) -> Self {
        match (words[SESSION_CONDEMNED], words[SESSION_FROZEN]) {
            (0, _) => Self::No,
            (_, 0) => Self::Killed,
            _ => Self::Frozen,
        }
    }
}

/// The loaded programs and their maps.
pub struct Kernel {
    attached: Attached,
    name: Name,
    number: u32,
    pinned: Option<Generation>,
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
    /// tags can be set and rings be read before the first event. With `pins`,
    /// what is attached then outlives this process.
    ///
    /// # Errors
    ///
    /// No object in this binary, no BTF, no permission, or a kernel that
    /// refuses every profile that was named: the last one's reason.
    pub fn load(options: &Options, pins: Option<&Pins>) -> Result<(Self, Rings), Error> {
        let host = Host::look()?;
        let mut source = Source {
            linked: preempt::link(host.object, &host.btf, Preemption::Unchanged),
            btf: &host.btf,
            resolved: &host.resolved,
            copied: false,
        };
        source.copied = source
            .linked
            .tracepoints_are_preemptible(&host.btf, || load_probes(&source))?;
        if source.copied {
            source.linked = preempt::link(host.object, &host.btf, Preemption::Off);
        }
        let mut passed_over = Vec::new();
        for &profile in &options.profiles {
            match load_profile(options, profile, &source) {
                Ok(loaded) => {
                    let name = host.name(options, profile, loaded.not_refusing.is_some());
                    let pinned = pins.map(Pins::begin).transpose()?;
                    if let Some(generation) = &pinned {
                        loaded.maps.keep(generation)?;
                    }
                    let is_old = !host.resolved.has_helpers;
                    let (mut kernel, rings) = Self::of(options, loaded, name, pinned, is_old)?;
                    kernel.passed_over = passed_over;
                    return Ok((kernel, rings));
                }
                Err(error) => passed_over.push((profile, error)),
            }
        }
        let last = passed_over.pop().map(|(_, error)| error);
        Err(last.unwrap_or_else(|| Error::Object("no profile was named".to_owned())))
    }

    /// Goes on with programs that a recorder with these options left at their
    /// hooks, in the state that they are in; `None` where there are none.
    ///
    /// # Errors
    ///
    /// They cannot be opened, or are not as they were left: a new set is to be loaded.
    pub fn resume(options: &Options, pins: &Pins) -> Result<Option<(Self, Rings)>, Error> {
        let host = Host::look()?;
        let layout = host.layout(options);
        let left = pins.left()?.into_iter().find_map(|generation| {
            let name = generation.name().filter(|name| name.layout == layout)?;
            Some((generation, name))
        });
        let Some((generation, name)) = left else {
            return Ok(None);
        };
        let loaded = Loaded {
            attached: Attached::left(&generation, name.profile)?,
            maps: Maps::left(&generation)?,
            not_refusing: name.observes.then(|| Error::CannotRefuse {
                function: "any function",
                message: "as it was when the programs were loaded".to_owned(),
            }),
        };
        let is_old = !host.resolved.has_helpers;
        let (mut kernel, rings) = Self::of(options, loaded, name, Some(generation), is_old)?;
        kernel.own.look()?;
        Ok(Some((kernel, rings)))
    }

    fn of(
        options: &Options,
        loaded: Loaded,
        name: Name,
        pinned: Option<Generation>,
        is_old: bool,
    ) -> Result<(Self, Rings), Error> {
        let Loaded {
            attached,
            mut maps,
            not_refusing,
        } = loaded;
        let number = maps.number()?;
        let mut calls = Calls::new(&mut maps)?;
        calls.fill()?;
        let names = Names::fill(&mut maps, options)?;
        let rings = Rings::new(
            take(&mut maps, "PRIORITY", RingBuf::try_from)?,
            take(&mut maps, "BULK", RingBuf::try_from)?,
            take(&mut maps, "GATES", RingBuf::try_from)?,
        )?;
        let refuses = name.profile.can_refuse() && not_refusing.is_none();
        let kernel = Self {
            produced: take(&mut maps, "PRODUCED", PerCpuArray::try_from)?,
            lost: take(&mut maps, "LOST", PerCpuArray::try_from)?,
            trouble: take(&mut maps, "TROUBLE", PerCpuArray::try_from)?,
            sessions: take(&mut maps, "SESSIONS", HashMap::try_from)?,
            adopting: take(&mut maps, "ADOPTING", Array::try_from)?,
            lineage: take(&mut maps, "LINEAGE", HashMap::try_from)?,
            known: Known::new(&mut maps, &options.names)?,
            written: match maps.take_any("WRITTEN")? {
                Map::LruHashMap(map) => map,
                _ => return Err(missing("WRITTEN")),
            },
            calls,
            names,
            own: OwnKeys::new(&mut maps)?,
            tags: Tags::of(maps.take_any("TAGS")?)?,
            absent: attached.absent(name.profile, refuses),
            is_old,
            attached,
            name,
            number,
            pinned,
            passed_over: Vec::new(),
            not_refusing,
        };
        Ok((kernel, rings))
    }

    /// Attaches every program. They come off when `self` is dropped, but for
    /// those that are pinned.
    ///
    /// # Errors
    ///
    /// The kernel refuses one: then none is left.
    pub fn attach(&mut self) -> Result<(), Error> {
        let result = self.attach_all();
        if result.is_err()
            && let Some(generation) = &self.pinned
        {
            generation.remove()?;
        }
        result
    }

    fn attach_all(&mut self) -> Result<(), Error> {
        self.attached.attach(true, self.pinned.as_ref())?;
        if let Some(generation) = &mut self.pinned {
            fault::point(fault::PROGRAMS_ATTACHED);
            for (name, program) in self.attached.programs() {
                generation.keep_program(name, program)?;
            }
            generation.finish(&self.name)?;
            fault::point(fault::PROGRAMS_PINNED);
        }
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
        let attached = self.attached.attach(!self.is_old, self.pinned.as_ref());
        self.calls.fill()?;
        self.names.restore()?;
        self.own.look()?;
        attached
    }

    /// The number of one of its maps.
    pub fn own_map(&self) -> Option<u64> {
        self.own.map_number()
    }

    /// Takes away whatever else is pinned where these programs are.
    ///
    /// # Errors
    ///
    /// Something cannot be removed.
    pub fn remove_others(&self, pins: &Pins) -> Result<(), Error> {
        match &self.pinned {
            Some(generation) => pins.remove_others(generation),
            None => Ok(()),
        }
    }

    /// Tells these programs from all others that this kernel has.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.name.profile
    }

    /// Whether the guard refuses what goes over its limit. Where it does not,
    /// it ends the session at the exit of the call that meets it.
    pub fn refuses(&self) -> bool {
        self.name.profile.can_refuse() && self.not_refusing.is_none()
    }

    /// Whether the guard sees what an operation is about to destroy; where it
    /// does not, every deleted name counts.
    pub fn sees_victims(&self) -> bool {
        self.name.profile.sees() || self.attached.are_touched()
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
        self.attached.verified()
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
        counters.skipped = self.attached.skipped()?;
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

    /// Makes the counters of a session that programs before these counted: what
    /// they know of it, where they count alike.
    ///
    /// # Errors
    ///
    /// The map is full.
    pub fn move_session(
        &mut self,
        number: SessionNumber,
        previous: &Previous,
        was: SessionNumber,
    ) -> Result<(), Error> {
        let words = previous.session(was);
        self.sessions
            .insert(number, words.unwrap_or([0; size_of::<Session>() / 8]), 0)
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

    /// The sessions that the kernel programs count, and what their guard did to each.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn counted_sessions(&self) -> Result<Vec<(SessionNumber, Condemned)>, Error> {
        let state = |entry: Result<(SessionNumber, SessionWords), _>| {
            entry.map(|(number, words)| (number, Condemned::of(&words)))
        };
        let states: Result<_, _> = self.sessions.iter().map(state).collect();
        states.map_err(|error| map_error("SESSIONS", &error))
    }

    /// Events that found a place in a ring until now, by kind; not fewer are in
    /// the rings or came out of them when this returns.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn placed(&self) -> Result<[u64; KINDS], Error> {
        let mut placed = [0; KINDS];
        for (kind, count) in placed.iter_mut().enumerate() {
            // Made first: an event in between then shows as lost and not made, never the other way round.
            let made = sum(&self.produced, "PRODUCED", kind)?;
            *count = made.saturating_sub(sum(&self.lost, "LOST", kind)?);
        }
        Ok(placed)
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
