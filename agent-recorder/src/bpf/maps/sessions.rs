//! The counters that the kernel programs keep of each session, and what their
//! guard did to it.
//!
//! Not here: what a session is (`session`).

use agent_recorder_abi::state::{Session, SessionNumber};
use aya::maps::{HashMap, MapData};

use super::{Maps, take};
use crate::bpf::Error;
use crate::bpf::error::map_error;

const DESTROYED: usize = std::mem::offset_of!(Session, destroyed) / 8;
const CONDEMNED: usize = std::mem::offset_of!(Session, condemned) / 8;
const FROZEN: usize = std::mem::offset_of!(Session, frozen) / 8;
/// From here on, all is times: of files, and of steps.
const TIMES: usize = std::mem::offset_of!(Session, times) / 8;

/// A session's state as 64-bit words, which aya knows how to store.
pub(in crate::bpf) type SessionWords = [u64; size_of::<Session>() / 8];
const _: () = assert!(size_of::<SessionWords>() == size_of::<Session>());
/// The state of a session that has done nothing.
const NOTHING_DONE: SessionWords = [0; size_of::<Session>() / 8];

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
        match (words[CONDEMNED], words[FROZEN]) {
            (0, _) => Self::No,
            (_, 0) => Self::Killed,
            _ => Self::Frozen,
        }
    }
}

/// The map that they are in.
pub(in crate::bpf) struct Sessions(HashMap<MapData, SessionNumber, SessionWords>);

impl Sessions {
    pub(in crate::bpf) fn of(maps: &mut Maps) -> Result<Self, Error> {
        Ok(Self(take(maps, "SESSIONS", HashMap::try_from)?))
    }

    /// The session's state, `None` where it is not counted.
    pub(in crate::bpf) fn state(&self, number: SessionNumber) -> Option<SessionWords> {
        self.0.get(&number, 0).ok()
    }

    /// Begins counting; from `state`, if programs before these counted the session.
    pub(in crate::bpf) fn begin(
        &mut self,
        number: SessionNumber,
        state: Option<SessionWords>,
    ) -> Result<(), Error> {
        self.set(number, state.unwrap_or(NOTHING_DONE))
    }

    pub(in crate::bpf) fn condemn(&mut self, number: SessionNumber) -> Result<(), Error> {
        let mut words = self.get(number)?;
        words[CONDEMNED] = 1;
        words[FROZEN] = 0;
        self.set(number, words)
    }

    pub(in crate::bpf) fn pardon(&mut self, number: SessionNumber) -> Result<(), Error> {
        let mut words = self.get(number)?;
        words[CONDEMNED] = 0;
        words[FROZEN] = 0;
        words[TIMES..].fill(0);
        self.set(number, words)
    }

    /// Files that the session has destroyed.
    pub(in crate::bpf) fn destroyed(&self, number: SessionNumber) -> Result<u64, Error> {
        Ok(self.get(number)?[DESTROYED])
    }

    pub(in crate::bpf) fn all(&self) -> Result<Vec<(SessionNumber, Condemned)>, Error> {
        let state = |entry: Result<(SessionNumber, SessionWords), _>| {
            entry.map(|(number, words)| (number, Condemned::of(&words)))
        };
        let states: Result<_, _> = self.0.iter().map(state).collect();
        states.map_err(|error| map_error("SESSIONS", &error))
    }

    pub(in crate::bpf) fn end(&mut self, number: SessionNumber) {
        // Absent already: the kernel had no room for it when it began.
        let _ = self.0.remove(&number);
    }

    fn get(&self, number: SessionNumber) -> Result<SessionWords, Error> {
        self.0
            .get(&number, 0)
            .map_err(|error| map_error("SESSIONS", &error))
    }

    fn set(&mut self, number: SessionNumber, words: SessionWords) -> Result<(), Error> {
        self.0
            .insert(number, words, 0)
            .map_err(|error| map_error("SESSIONS", &error))
    }
}
