//! Loads and configures the kernel programs and their maps, and owns them: dropping
//! [`Kernel`] detaches and unloads them.
//!
//! Not here: loading a profile's programs (`load`), and the list of them
//! (`attach::hooks`).

use std::os::fd::AsFd as _;

use agent_recorder_abi::event::{KINDS, TROUBLES};
use agent_recorder_abi::policy::{Place, PlaceKey};
use agent_recorder_abi::self_protection::OwnKey;
use agent_recorder_abi::state::{Session, SessionNumber};
use agent_recorder_abi::written_file::Written;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};

use super::attach::attached::Attached;
use super::attach::hooks::{Absent, Profile};
use super::error::{map_error, missing};
use super::load::{Host, Loaded, load_profile};
use super::maps::judge::Judge;
use super::maps::places::Places;
use super::maps::rules::Rules;
use super::maps::self_protection::SelfProtection;
use super::maps::sessions::{Condemned, Sessions};
use super::maps::syscalls::SyscallTable;
use super::maps::{Maps, sum, take};
use super::pins::{Generation, Name, Pins, Previous};
use super::{Counters, Error, Options, Rings, Tags, commands};
use crate::fault;

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
    sessions: Sessions,
    adopting: Array<MapData, u32>,
    lineage: HashMap<MapData, u32, u32>,
    judge: Judge,
    places: Places,
    written: MapData,
    syscalls: SyscallTable,
    rules: Rules,
    self_protection: SelfProtection,
    tags: Tags,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

impl Kernel {
    /// Loads the programs and maps of the first profile that works, and attaches
    /// none: tags can be set and rings read before the first event. With `pins`, what
    /// is attached later outlives this process.
    ///
    /// # Errors
    ///
    /// The binary has no object, the kernel no BTF, the process no permission; or the
    /// kernel refuses every named profile, and the error is that of the last.
    pub fn load(options: &Options, pins: Option<&Pins>) -> Result<(Self, Rings), Error> {
        let host = Host::look()?;
        let source = host.source()?;
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

    /// Takes over the attached programs of an earlier recorder with these options, in
    /// their present state; `None` where there are none.
    ///
    /// # Errors
    ///
    /// The programs cannot be opened, or differ from what their recorder left: the
    /// caller has to load a new set.
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
        kernel.self_protection.look()?;
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
        let mut syscalls = SyscallTable::new(&mut maps)?;
        syscalls.fill()?;
        let rules = Rules::fill(&mut maps, options)?;
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
            sessions: Sessions::of(&mut maps)?,
            adopting: take(&mut maps, "ADOPTING", Array::try_from)?,
            lineage: take(&mut maps, "LINEAGE", HashMap::try_from)?,
            judge: Judge::of(&mut maps)?,
            places: Places::new(&mut maps, &options.names)?,
            written: match maps.take_any("WRITTEN")? {
                Map::LruHashMap(map) => map,
                _ => return Err(missing("WRITTEN")),
            },
            syscalls,
            rules,
            self_protection: SelfProtection::new(&mut maps)?,
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

    /// Attaches every program. Dropping `self` detaches those that are not pinned.
    ///
    /// # Errors
    ///
    /// The kernel refuses a program; then all others are detached again.
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
        self.self_protection.look()
    }

    /// Attaches every program anew, and restores the table of system calls and the
    /// names: another process removed some of that. 5.10 does not attach a program of
    /// a trampoline a second time; such a program stays as it is.
    ///
    /// # Errors
    ///
    /// The kernel refuses a program, and the others are attached; or a map cannot be
    /// written.
    pub fn mend(&mut self) -> Result<(), Error> {
        let attached = self.attached.attach(!self.is_old, self.pinned.as_ref());
        self.syscalls.fill()?;
        self.rules.restore()?;
        self.self_protection.look()?;
        attached
    }

    /// The kernel's id of one of the recorder's maps.
    pub fn own_map(&self) -> Option<u64> {
        self.self_protection.map_number()
    }

    /// Removes every other object from the directory of these programs' pins.
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

    /// A number that no other programs on this kernel have.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.name.profile
    }

    /// Whether the guard refuses operations beyond its limit. Otherwise it ends the
    /// session at the exit of the call that meets the limit.
    pub fn refuses(&self) -> bool {
        self.name.profile.can_refuse() && self.not_refusing.is_none()
    }

    /// Whether the guard sees which object an operation is about to destroy.
    /// Otherwise every deleted name counts.
    pub fn sees_victims(&self) -> bool {
        self.name.profile.sees() || self.attached.are_touched()
    }

    /// Why the guard does not refuse, although its profile allows that.
    pub fn not_refusing(&self) -> Option<&Error> {
        self.not_refusing.as_ref()
    }

    /// Hooks that this kernel lacks, and the consequence for the records.
    pub fn absent(&self) -> &[Absent] {
        &self.absent
    }

    /// Whether the programs are those for kernels without bpf_loop (before 5.17).
    pub fn is_old(&self) -> bool {
        self.is_old
    }

    /// Instructions that the verifier visited for each program, by name.
    pub fn verified(&self) -> Vec<(String, u32)> {
        self.attached.verified()
    }

    /// Profiles of higher preference, and why they are not in use.
    pub fn passed_over(&self) -> &[(Profile, Error)] {
        &self.passed_over
    }

    /// The tags.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Events made and lost since the programs were loaded.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn counters(&self) -> Result<Counters, Error> {
        let mut counters = Counters::default();
        for kind in 0..KINDS {
            // The lost events are read first: an event in between shows as made and
            // not lost, never the other way round.
            counters.lost[kind] = sum(&self.lost, "LOST", kind)?;
            counters.produced[kind] = sum(&self.produced, "PRODUCED", kind)?;
        }
        counters.skipped = self.attached.skipped()?;
        for trouble in 0..TROUBLES {
            counters.troubles[trouble] = sum(&self.trouble, "TROUBLE", trouble)?;
        }
        Ok(counters)
    }

    /// Creates the counters of a session that user space begins, before any process
    /// is in it.
    ///
    /// # Errors
    ///
    /// The map is full.
    pub fn begin_session(&mut self, number: SessionNumber) -> Result<(), Error> {
        self.sessions.begin(number, None)
    }

    /// Creates the counters of a session that older programs counted, with their
    /// values where both count alike.
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
        self.sessions.begin(number, previous.session(was))
    }

    /// Condemns a session: every member dies at its next recorded call. A delete that
    /// the kernel counts at this very moment can be missing from the count.
    ///
    /// # Errors
    ///
    /// The kernel does not count the session, or the map cannot be written.
    pub fn condemn(&mut self, number: SessionNumber) -> Result<(), Error> {
        self.sessions.condemn(number)
    }

    /// Files that the session has destroyed.
    ///
    /// # Errors
    ///
    /// The kernel does not count the session, or the map cannot be read.
    pub fn destroyed(&self, number: SessionNumber) -> Result<u64, Error> {
        self.sessions.destroyed(number)
    }

    /// The sessions that the kernel programs count, and the guard's verdict on each.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn counted_sessions(&self) -> Result<Vec<(SessionNumber, Condemned)>, Error> {
        self.sessions.all()
    }

    /// Events that were written to a ring until now, by kind. At the return at least
    /// as many are in the rings or were read from them.
    ///
    /// # Errors
    ///
    /// A map cannot be read.
    pub fn placed(&self) -> Result<[u64; KINDS], Error> {
        let mut placed = [0; KINDS];
        for (kind, count) in placed.iter_mut().enumerate() {
            // The made events are read first: an event in between shows as lost and
            // not made, never the other way round.
            let made = sum(&self.produced, "PRODUCED", kind)?;
            *count = made.saturating_sub(sum(&self.lost, "LOST", kind)?);
        }
        Ok(placed)
    }

    /// Removes the counters of an ended session.
    pub fn end_session(&mut self, number: SessionNumber) {
        self.sessions.end(number);
    }

    /// Pardons a session: its members may run, and its budgets begin anew.
    ///
    /// # Errors
    ///
    /// The kernel does not count the session, or the map cannot be written.
    pub fn pardon(&mut self, number: SessionNumber) -> Result<(), Error> {
        self.sessions.pardon(number)
    }

    /// Stops a session's members at their next call, until a person decides.
    ///
    /// # Errors
    ///
    /// As for [`Kernel::pardon`].
    pub fn freeze(&mut self, number: SessionNumber) -> Result<(), Error> {
        self.sessions.freeze(number)
    }

    /// The session's counters; `None` where the kernel does not count it.
    pub fn session(&self, number: SessionNumber) -> Option<Session> {
        self.sessions.state(number)
    }

    /// Lets a judged session go on with these counters, and with the directories of
    /// `spared` as its own.
    ///
    /// # Errors
    ///
    /// As for [`Kernel::pardon`].
    pub fn go_on(
        &mut self,
        number: SessionNumber,
        mut state: Session,
        spared: &[PlaceKey],
    ) -> Result<(), Error> {
        for directory in spared {
            self.judge.spare(number, *directory)?;
            state.spares = 1;
        }
        self.sessions.go_on(number, state)
    }

    /// Tells the kernel programs that the judge lives, at this time of CLOCK_BOOTTIME, ns.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn sign_of_judge(&mut self, now: u64) -> Result<(), Error> {
        self.judge.sign(now)
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
        self.places.set_places(places)
    }

    /// Protects this process, its programs, maps and links, and these files from
    /// members of sessions, where [`Kernel::refuses`].
    ///
    /// # Errors
    ///
    /// As for [`Kernel::set_places`].
    pub fn set_own(&mut self, files: &[OwnKey]) -> Result<(), Error> {
        self.self_protection.set(files)
    }

    /// Replaces the files and file sizes (bytes) by which programs are recognised.
    ///
    /// # Errors
    ///
    /// As for [`Kernel::set_places`].
    pub fn set_programs(
        &mut self,
        programs: &std::collections::HashMap<PlaceKey, u32>,
        sizes: &std::collections::BTreeMap<u64, u32>,
    ) -> Result<(), Error> {
        self.places.set_programs(programs, sizes)
    }

    /// Names of maps that another process changed since the last call. Their contents
    /// are restored. The table of system calls is excluded, and maps that the kernel
    /// programs write.
    ///
    /// # Errors
    ///
    /// A map cannot be read or written.
    pub fn changed(&mut self) -> Result<Vec<&'static str>, Error> {
        let mut changed = self.places.changed()?;
        changed.extend(self.self_protection.changed());
        changed.extend(self.rules.changed()?);
        Ok(changed)
    }

    /// Has the kernel emit an event when a process outside sessions starts a script
    /// of this name, because a session wrote a file of this name.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn add_written_name(&mut self, name: &[u8]) -> Result<(), Error> {
        self.rules.add_written(name)
    }

    /// The session that wrote a file, if there is one.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn writer_of(&self, file: PlaceKey) -> Result<Option<Written>, Error> {
        commands::look_up(self.written.fd().as_fd(), file).map_err(|source| Error::System {
            what: "bpf(2) on the map of written files",
            source,
        })
    }

    /// Has the kernel remember every fork outside sessions, or stop that.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn set_adopting(&mut self, on: bool) -> Result<(), Error> {
        self.adopting
            .set(0, u32::from(on), 0)
            .map_err(|error| map_error("ADOPTING", &error))
    }

    /// The remembered forks: child → parent.
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
}
