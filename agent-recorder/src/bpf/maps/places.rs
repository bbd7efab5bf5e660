//! Maps of files and words: directories of the guard's policy, files of programs,
//! names.
//!
//! Not here: names of started programs (`rules`), and the recorder's own objects
//! (`self_protection`).

use std::collections::{BTreeMap, HashMap};

use agent_recorder_abi::policy::{NameKey, Place, PlaceKey};

use super::{Filled, Maps};
use crate::bpf::Error;

/// The maps.
pub(in crate::bpf) struct Places {
    places: Filled<PlaceKey, Place>,
    programs: Filled<PlaceKey, u32>,
    sizes: Filled<u64, u32>,
    names: Filled<NameKey, u32>,
}

impl Places {
    /// Fills in these names; the programs have no file yet.
    pub(in crate::bpf) fn new(maps: &mut Maps, names: &[(NameKey, u32)]) -> Result<Self, Error> {
        let mut places = Self {
            places: Filled::new(maps, "PLACES")?,
            programs: Filled::new(maps, "PROGRAMS")?,
            sizes: Filled::new(maps, "SIZES")?,
            names: Filled::new(maps, "NAMES")?,
        };
        places.names.hold(names.iter().copied().collect())?;
        Ok(places)
    }

    pub(in crate::bpf) fn set_places(
        &mut self,
        places: &HashMap<PlaceKey, Place>,
    ) -> Result<(), Error> {
        self.places.hold(places.clone())
    }

    pub(in crate::bpf) fn set_programs(
        &mut self,
        programs: &HashMap<PlaceKey, u32>,
        sizes: &BTreeMap<u64, u32>,
    ) -> Result<(), Error> {
        self.programs.hold(programs.clone())?;
        self.sizes
            .hold(sizes.iter().map(|(size, value)| (*size, *value)).collect())
    }

    /// Names of maps that another process changed since the last call. Their contents
    /// are restored.
    pub(in crate::bpf) fn changed(&mut self) -> Result<Vec<&'static str>, Error> {
        self.names.hold_on()?;
        let changed = [
            self.places.was_changed(),
            self.programs.was_changed(),
            self.sizes.was_changed(),
            self.names.was_changed(),
        ];
        Ok(changed.into_iter().flatten().collect())
    }
}
