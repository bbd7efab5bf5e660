//! The maps of the judge: its sign of life, and the directories that it has spared.
//!
//! Not here: the sessions' counters (`sessions`).

use agent_recorder_abi::policy::{PlaceKey, SparedKey};
use agent_recorder_abi::state::SessionNumber;
use aya::maps::{Array, HashMap, Map, MapData};

use super::{Maps, take};
use crate::bpf::Error;
use crate::bpf::error::{map_error, missing};

/// The maps.
pub(in crate::bpf) struct Judge {
    sign: Array<MapData, u64>,
    spared: HashMap<MapData, SparedKey, u32>,
}

impl Judge {
    pub(in crate::bpf) fn of(maps: &mut Maps) -> Result<Self, Error> {
        let Map::LruHashMap(spared) = maps.take_any("SPARED")? else {
            return Err(missing("SPARED"));
        };
        Ok(Self {
            sign: take(maps, "JUDGE", Array::try_from)?,
            spared: HashMap::try_from(Map::LruHashMap(spared))
                .map_err(|error| map_error("SPARED", &error))?,
        })
    }

    /// Gives the judge's sign of life, CLOCK_BOOTTIME ns; 0: there is no judge.
    pub(in crate::bpf) fn sign(&mut self, now: u64) -> Result<(), Error> {
        self.sign
            .set(0, now, 0)
            .map_err(|error| map_error("JUDGE", &error))
    }

    /// Lets a session remove what is below a directory.
    pub(in crate::bpf) fn spare(
        &mut self,
        session: SessionNumber,
        directory: PlaceKey,
    ) -> Result<(), Error> {
        let key = SparedKey {
            session,
            ino: directory.ino,
            dev: directory.dev,
            spare: 0,
        };
        self.spared
            .insert(key, 1, 0)
            .map_err(|error| map_error("SPARED", &error))
    }
}
