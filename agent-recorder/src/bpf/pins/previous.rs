//! Programs of another layout that an earlier recorder left. This recorder uses only
//! their tags and counters: the members of each session, and the events counted.
//!
//! Not here: moving the sessions over (`daemon::takeover::new_programs`).

use std::os::fd::OwnedFd;

use agent_recorder_abi::event::KINDS;
use agent_recorder_abi::state::{Session, SessionNumber};
use aya::maps::{MapData, PerCpuArray};

use super::{Generation, Pins};
use crate::bpf::maps::sessions::Sessions;
use crate::bpf::maps::{Maps, sum, take};
use crate::bpf::{Error, Tags};

/// Programs of another layout that an earlier recorder left.
pub struct Previous {
    generation: Generation,
    number: Option<u32>,
    /// `None` where the programs store tags in another way.
    tags: Option<Tags>,
    sessions: Option<Sessions>,
    counters: Option<[PerCpuArray<MapData, u64>; 2]>,
    /// The programs stay attached as long as these links are open.
    links: Vec<OwnedFd>,
}

impl std::fmt::Debug for Previous {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Previous").finish_non_exhaustive()
    }
}

impl Previous {
    /// All such programs. From then on [`crate::bpf::Kernel::resume`] finds none of
    /// them.
    ///
    /// # Errors
    ///
    /// The folder cannot be read. An object in it that cannot be opened is of no use,
    /// and is removed with the rest.
    pub fn find(pins: &Pins) -> Result<Vec<Self>, Error> {
        let generations = pins.set_aside()?.into_iter();
        Ok(generations.map(Self::open).collect())
    }

    fn open(generation: Generation) -> Self {
        let maps = Maps::left(&generation).ok();
        let number = maps.as_ref().and_then(|maps| maps.number().ok());
        let links = generation.links().unwrap_or_default();
        let (mut tags, mut sessions, mut counters) = (None, None, None);
        if let Some(mut maps) = maps {
            tags = maps.take_any("TAGS").and_then(Tags::of).ok();
            sessions = Sessions::of(&mut maps).ok();
            let produced = take(&mut maps, "PRODUCED", PerCpuArray::try_from).ok();
            let lost = take(&mut maps, "LOST", PerCpuArray::try_from).ok();
            counters = produced.zip(lost).map(|(produced, lost)| [produced, lost]);
        }
        Self {
            generation,
            number,
            tags,
            sessions,
            counters,
            links,
        }
    }

    /// The number as of [`crate::bpf::Kernel::number`].
    pub fn number(&self) -> Option<u32> {
        self.number
    }

    /// Its tags.
    pub fn tags(&self) -> Option<&Tags> {
        self.tags.as_ref()
    }

    pub(in crate::bpf) fn session(&self, number: SessionNumber) -> Option<Session> {
        self.sessions.as_ref()?.state(number)
    }

    /// Events that were written to its rings, by kind; 0 for a kind that the programs
    /// lack.
    pub fn placed(&self) -> [u64; KINDS] {
        std::array::from_fn(|kind| {
            let [produced, lost] = self.counters.as_ref()?;
            let made = sum(produced, "PRODUCED", kind).ok()?;
            Some(made.saturating_sub(sum(lost, "LOST", kind).ok()?))
        })
        .map(Option::unwrap_or_default)
    }

    /// Detaches the programs.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn remove(self) -> Result<(), Error> {
        self.generation.remove()?;
        drop(self.links);
        Ok(())
    }
}
