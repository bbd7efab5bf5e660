//! Maps of the kernel programs as aya stores them.

pub(in crate::bpf) mod judge;
pub(in crate::bpf) mod places;
pub(in crate::bpf) mod rules;
pub(in crate::bpf) mod self_protection;
pub(in crate::bpf) mod sessions;
pub(in crate::bpf) mod syscalls;

use std::collections::BTreeMap;

use aya::Ebpf;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray};

use crate::bpf::Error;
use crate::bpf::error::{map_error, missing};
use crate::bpf::pins::Generation;

/// The map whose id identifies a set of programs.
const COUNTING: &str = "PRODUCED";

/// The maps of the programs, by their names, until each is taken.
pub(in crate::bpf) struct Maps(BTreeMap<String, Map>);

impl Maps {
    /// The maps of a loaded object. Its programs hold references of their own.
    pub(in crate::bpf) fn of(mut bpf: Ebpf) -> Self {
        let names: Vec<String> = bpf.maps().map(|(name, _)| name.to_owned()).collect();
        let maps = names.into_iter().filter_map(|name| {
            let map = bpf.take_map(&name)?;
            Some((name, map))
        });
        Self(maps.collect())
    }

    /// The pinned maps of an earlier recorder.
    ///
    /// # Errors
    ///
    /// One cannot be opened.
    pub(in crate::bpf) fn left(generation: &Generation) -> Result<Self, Error> {
        Ok(Self(generation.maps()?))
    }

    /// Pins the maps, so that they stay when this process ends.
    ///
    /// # Errors
    ///
    /// The kernel refuses to pin one.
    pub(in crate::bpf) fn keep(&self, generation: &Generation) -> Result<(), Error> {
        for (name, map) in &self.0 {
            generation.keep_map(name, map)?;
        }
        Ok(())
    }

    /// The kernel's id of the map that counts events: it belongs to one set of
    /// programs.
    ///
    /// # Errors
    ///
    /// The map is missing, or the kernel does not return its id.
    pub(in crate::bpf) fn number(&self) -> Result<u32, Error> {
        let Some(Map::PerCpuArray(map)) = self.0.get(COUNTING) else {
            return Err(missing(COUNTING));
        };
        let info = map.info().map_err(|error| map_error(COUNTING, &error))?;
        Ok(info.id())
    }

    /// Takes out a map of any type.
    pub(in crate::bpf) fn take_any(&mut self, name: &'static str) -> Result<Map, Error> {
        self.0.remove(name).ok_or_else(|| missing(name))
    }
}

pub(in crate::bpf) fn take<T>(
    maps: &mut Maps,
    name: &'static str,
    convert: impl FnOnce(Map) -> Result<T, MapError>,
) -> Result<T, Error> {
    let map = maps.take_any(name)?;
    convert(map).map_err(|error| map_error(name, &error))
}

/// A map that only user space fills, with a copy of its contents.
pub(in crate::bpf) struct Filled<K, V> {
    map: HashMap<MapData, K, V>,
    name: &'static str,
    held: std::collections::HashMap<K, V>,
    changed: bool,
}

impl<K, V> Filled<K, V>
where
    K: aya::Pod + Eq + std::hash::Hash,
    V: aya::Pod + PartialEq,
{
    /// Wraps a map that is empty, or has the contents of an earlier recorder.
    pub(in crate::bpf) fn new(maps: &mut Maps, name: &'static str) -> Result<Self, Error> {
        let map: HashMap<MapData, K, V> = take(maps, name, HashMap::try_from)?;
        let held = map.iter().collect::<Result<_, _>>();
        Ok(Self {
            held: held.map_err(|error| map_error(name, &error))?,
            map,
            name,
            changed: false,
        })
    }

    /// Makes the map contain exactly these elements. An element that stays is never
    /// missing in between.
    pub(in crate::bpf) fn hold(
        &mut self,
        wanted: std::collections::HashMap<K, V>,
    ) -> Result<(), Error> {
        let failed = |error| map_error(self.name, &error);
        let found: std::collections::HashMap<K, V> =
            self.map.iter().collect::<Result<_, _>>().map_err(failed)?;
        self.changed |= found != self.held;
        for key in found.keys().filter(|key| !wanted.contains_key(key)) {
            match self.map.remove(key) {
                // Another process removed the element first.
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        for (key, value) in &wanted {
            if found.get(key) != Some(value) {
                self.map.insert(key, value, 0).map_err(failed)?;
            }
        }
        self.held = wanted;
        Ok(())
    }

    /// Restores the contents.
    pub(in crate::bpf) fn hold_on(&mut self) -> Result<(), Error> {
        self.hold(self.held.clone())
    }

    /// The map's name, if another process changed it since the last call.
    pub(in crate::bpf) fn was_changed(&mut self) -> Option<&'static str> {
        std::mem::take(&mut self.changed).then_some(self.name)
    }
}

pub(in crate::bpf) fn sum(
    map: &PerCpuArray<MapData, u64>,
    name: &'static str,
    index: usize,
) -> Result<u64, Error> {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let values = map
        .get(&index, 0)
        .map_err(|error| map_error(name, &error))?;
    Ok(values.iter().sum())
}
