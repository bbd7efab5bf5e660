//! The kernel programs' counters of each session, and their guard's verdict on it.
//!
//! Not here: what a session is (`session`).

use agent_recorder_abi::state::{
    FROZEN_FOR_JUDGE, FROZEN_FOR_PERSON, FROZEN_NOT, Session, SessionNumber,
};
use aya::maps::{HashMap, MapData};

use super::{Maps, take};
use crate::bpf::Error;
use crate::bpf::error::map_error;

/// The verdict of the guard in the kernel on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condemned {
    /// The session may run.
    No,
    /// Its members are stopped at their next recorded call, and shortly after the
    /// limit was met at any call.
    Frozen,
    /// The same, until the judge has looked at what they destroyed.
    Judged,
    /// Its members die there.
    Killed,
}

impl Condemned {
    fn of(session: &Session) -> Self {
        match (session.condemned, session.frozen) {
            (0, _) => Self::No,
            (_, FROZEN_NOT) => Self::Killed,
            (_, FROZEN_FOR_JUDGE) => Self::Judged,
            _ => Self::Frozen,
        }
    }
}

/// The map of the counters.
pub(in crate::bpf) struct Sessions(HashMap<MapData, SessionNumber, Session>);

impl Sessions {
    pub(in crate::bpf) fn of(maps: &mut Maps) -> Result<Self, Error> {
        Ok(Self(take(maps, "SESSIONS", HashMap::try_from)?))
    }

    /// The session's state; `None` where the kernel does not count it.
    pub(in crate::bpf) fn state(&self, number: SessionNumber) -> Option<Session> {
        self.0.get(&number, 0).ok()
    }

    /// Begins to count a session; from `state`, if older programs counted it.
    pub(in crate::bpf) fn begin(
        &mut self,
        number: SessionNumber,
        state: Option<Session>,
    ) -> Result<(), Error> {
        self.set(number, state.unwrap_or(Session::NEW))
    }

    pub(in crate::bpf) fn condemn(&mut self, number: SessionNumber) -> Result<(), Error> {
        let state = Session {
            condemned: 1,
            frozen: FROZEN_NOT,
            ..self.get(number)?
        };
        self.set(number, state)
    }

    /// Stops the session's members until a person decides.
    pub(in crate::bpf) fn freeze(&mut self, number: SessionNumber) -> Result<(), Error> {
        let state = Session {
            condemned: 1,
            frozen: FROZEN_FOR_PERSON,
            ..self.get(number)?
        };
        self.set(number, state)
    }

    /// Lets a judged session go on: with these counters, and with its members free.
    pub(in crate::bpf) fn go_on(
        &mut self,
        number: SessionNumber,
        state: Session,
    ) -> Result<(), Error> {
        let state = Session {
            condemned: 0,
            frozen: FROZEN_NOT,
            judgements: state.judgements.wrapping_add(1),
            ..state
        };
        self.set(number, state)
    }

    pub(in crate::bpf) fn pardon(&mut self, number: SessionNumber) -> Result<(), Error> {
        let state = Session {
            condemned: 0,
            frozen: FROZEN_NOT,
            times: Session::NEW.times,
            steps: Session::NEW.steps,
            ..self.get(number)?
        };
        self.set(number, state)
    }

    /// Files that the session has destroyed.
    pub(in crate::bpf) fn destroyed(&self, number: SessionNumber) -> Result<u64, Error> {
        Ok(self.get(number)?.destroyed)
    }

    pub(in crate::bpf) fn all(&self) -> Result<Vec<(SessionNumber, Condemned)>, Error> {
        let state = |entry: Result<(SessionNumber, Session), _>| {
            entry.map(|(number, state)| (number, Condemned::of(&state)))
        };
        let states: Result<_, _> = self.0.iter().map(state).collect();
        states.map_err(|error| map_error("SESSIONS", &error))
    }

    pub(in crate::bpf) fn end(&mut self, number: SessionNumber) {
        // The element is missing where the map was full at the session's beginning.
        let _ = self.0.remove(&number);
    }

    fn get(&self, number: SessionNumber) -> Result<Session, Error> {
        self.0
            .get(&number, 0)
            .map_err(|error| map_error("SESSIONS", &error))
    }

    fn set(&mut self, number: SessionNumber, state: Session) -> Result<(), Error> {
        self.0
            .insert(number, state, 0)
            .map_err(|error| map_error("SESSIONS", &error))
    }
}
