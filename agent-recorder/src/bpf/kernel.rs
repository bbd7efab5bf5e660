//! Loads and configures the kernel programs and their maps, and holds them:
//! dropping [`Kernel`] takes them out again.
//!
//! Not here: loading a profile's programs (`load`), and which those are (`attach::hooks`).

use std::os::fd::AsFd as _;

use agent_recorder_abi::event::{KINDS, TROUBLES};
use agent_recorder_abi::policy::{Place, PlaceKey};
use agent_recorder_abi::self_protection::OwnKey;
use agent_recorder_abi::state::SessionNumber;
use agent_recorder_abi::written_file::Written;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};

use super::attach::attached::Attached;
use super::attach::hooks::{Absent, Profile};
use super::error::{map_error, missing};
use super::load::{Host, Loaded, load_profile};
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
        self.self_protection.look()
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
        self.syscalls.fill()?;
        self.rules.restore()?;
        self.self_protection.look()?;
        attached
    }

    /// The number of one of its maps.
    pub fn own_map(&self) -> Option<u64> {
        self.self_protection.map_number()
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
        self.sessions.begin(number, None)
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
        self.sessions.begin(number, previous.session(was))
    }

    /// From now on every member dies at its next recorded call. A delete that is
    /// counted in the kernel at this very moment can go missing from the count.
    ///
    /// # Errors
    ///
    /// The session is not counted, or the map cannot be written.
    pub fn condemn(&mut self, number: SessionNumber) -> Result<(), Error> {
        self.sessions.condemn(number)
    }

    /// Files that the session has destroyed.
    ///
    /// # Errors
    ///
    /// The session is not counted, or the map cannot be read.
    pub fn destroyed(&self, number: SessionNumber) -> Result<u64, Error> {
        self.sessions.destroyed(number)
    }

    /// The sessions that the kernel programs count, and what their guard did to each.
    ///
    /// # Errors
    ///
    /// The map cannot be read.
    pub fn counted_sessions(&self) -> Result<Vec<(SessionNumber, Condemned)>, Error> {
        self.sessions.all()
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
        self.sessions.end(number);
    }

    /// The session goes on, and its budgets begin anew.
    ///
    /// # Errors
    ///
    /// The session is not counted, or the map cannot be written.
    pub fn pardon(&mut self, number: SessionNumber) -> Result<(), Error> {
        self.sessions.pardon(number)
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

    /// Keeps members of sessions from this process, its programs, maps and
    /// links, and from these files, where [`Kernel::refuses`].
    ///
    /// # Errors
    ///
    /// As for [`Kernel::set_places`].
    pub fn set_own(&mut self, files: &[OwnKey]) -> Result<(), Error> {
        self.self_protection.set(files)
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
        self.places.set_programs(programs, sizes)
    }

    /// Maps whose contents somebody else changed since this was asked last; they
    /// hold again what they are to hold. Not that of system calls, nor those
    /// that the kernel programs write.
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

    /// Has the kernel tell of who starts a script of this name, outside of
    /// sessions: one of them wrote a file that is called so.
    ///
    /// # Errors
    ///
    /// The map cannot be written.
    pub fn add_written_name(&mut self, name: &[u8]) -> Result<(), Error> {
        self.rules.add_written(name)
    }

    /// Which session wrote a file, if one did.
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
}
