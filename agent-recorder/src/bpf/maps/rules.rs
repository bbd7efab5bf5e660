//! Rules by which the kernel programs recognise a started program: agent rules and
//! gated programs, which are fixed, and names of files that sessions wrote, which
//! come and go.

use std::collections::{HashSet, VecDeque};

use agent_recorder_abi::agent_rule::{ENVIRONMENT, ENVIRONMENT_NAME, EXECUTABLE, RuleKey, SCRIPT};
use agent_recorder_abi::exec_gate::WRITTEN_NAME;
use agent_recorder_abi::limits::{MAX_WRITTEN_NAMES, PATTERN_BYTES};
use aya::maps::{HashMap, MapData, MapError};

use super::{Filled, Maps, take};
use crate::bpf::Error;
use crate::bpf::Options;
use crate::bpf::error::map_error;

/// The rules' maps and their contents.
pub(in crate::bpf) struct Rules {
    map: HashMap<MapData, RuleKey, u32>,
    /// Prefixes of environment entries, and their rules.
    environment: Filled<u64, u32>,
    /// Agent rules and gated programs.
    fixed: std::collections::HashMap<RuleKey, u32>,
    written: HashSet<Vec<u8>>,
    /// Names of written files, the oldest first.
    order: VecDeque<Vec<u8>>,
}

impl Rules {
    /// Puts the rules and the gated programs into the maps.
    pub(in crate::bpf) fn fill(maps: &mut Maps, options: &Options) -> Result<Self, Error> {
        let mut prefixes = std::collections::HashMap::new();
        let mut fixed = std::collections::HashMap::new();
        for &(key, number) in &options.rules {
            fixed.insert(key, number);
            if let Some(prefix) = environment_prefix(&key)? {
                prefixes.insert(prefix, number);
            }
        }
        for &(key, value) in &options.gated {
            // A gated program can have the name of an agent.
            *fixed.entry(key).or_insert(0) |= value;
        }
        let mut environment = Filled::new(maps, "ENVIRONMENT")?;
        environment.hold(prefixes)?;
        let map = take(maps, "RULES", HashMap::try_from)?;
        let written = written_in(&map).map_err(|error| map_error("RULES", &error))?;
        let mut rules = Self {
            map,
            environment,
            fixed,
            order: written.iter().cloned().collect(),
            written,
        };
        rules.restore()?;
        Ok(rules)
    }

    /// Names of maps that lacked elements. The elements are restored.
    pub(in crate::bpf) fn changed(&mut self) -> Result<Vec<&'static str>, Error> {
        let is_whole = self.is_whole();
        let is_whole = is_whole.map_err(|error| map_error("RULES", &error))?;
        self.environment.hold_on()?;
        if !is_whole {
            self.restore()?;
        }
        let rules = (!is_whole).then_some("RULES");
        Ok(rules
            .into_iter()
            .chain(self.environment.was_changed())
            .collect())
    }

    /// Of the rules' map only the fixed elements are compared, because the kernel
    /// programs add names to it.
    fn is_whole(&self) -> Result<bool, MapError> {
        for (key, wanted) in &self.fixed {
            match self.map.get(key, 0) {
                Ok(value) if value & !WRITTEN_NAME == *wanted => {}
                Ok(_) | Err(MapError::KeyNotFound) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Restores all elements, and removes unknown ones, which may have taken the room
    /// of others.
    pub(in crate::bpf) fn restore(&mut self) -> Result<(), Error> {
        self.environment.hold_on()?;
        self.sweep()?;
        for (key, value) in &self.fixed {
            self.map
                .insert(key, value, 0)
                .map_err(|error| map_error("RULES", &error))?;
        }
        for name in self.order.clone() {
            self.insert(&name)
                .map_err(|error| map_error("RULES", &error))?;
        }
        Ok(())
    }

    /// Adds the last component of a file that a session wrote. A name that is too
    /// long is left out. The kernel programs add names, too; once the map is full,
    /// names that no record has mentioned since are removed.
    pub(in crate::bpf) fn add_written(&mut self, name: &[u8]) -> Result<(), Error> {
        let fits = !name.is_empty() && name.len() < PATTERN_BYTES;
        if !fits || self.written.contains(name) {
            return Ok(());
        }
        if self.order.len() >= MAX_WRITTEN_NAMES as usize
            && let Some(oldest) = self.order.pop_front()
        {
            self.written.remove(&oldest);
            self.remove(&oldest)?;
        }
        if let Err(error) = self.insert(name) {
            if !is_full(&error) {
                return Err(map_error("RULES", &error));
            }
            self.sweep()?;
            self.insert(name)
                .map_err(|error| map_error("RULES", &error))?;
        }
        self.order.push_back(name.to_vec());
        self.written.insert(name.to_vec());
        Ok(())
    }

    fn insert(&mut self, name: &[u8]) -> Result<(), MapError> {
        for kind in KINDS {
            let key = key_of(kind, name);
            let fixed = self.fixed.get(&key).copied().unwrap_or(0);
            self.map.insert(key, fixed | WRITTEN_NAME, 0)?;
        }
        Ok(())
    }

    fn remove(&mut self, name: &[u8]) -> Result<(), Error> {
        for kind in KINDS {
            let key = key_of(kind, name);
            let done = match self.fixed.get(&key) {
                Some(fixed) => self.map.insert(key, fixed, 0),
                None => self.map.remove(&key),
            };
            match done {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_error("RULES", &error)),
            }
        }
        Ok(())
    }

    /// Removes names that the kernel programs added and no record mentions: those
    /// records were lost.
    fn sweep(&mut self) -> Result<(), Error> {
        let known: HashSet<RuleKey> = self
            .written
            .iter()
            .flat_map(|name| KINDS.map(|kind| key_of(kind, name)))
            .collect();
        let keys: Vec<RuleKey> = self.map.keys().filter_map(Result::ok).collect();
        for key in keys {
            if known.contains(&key) || self.fixed.contains_key(&key) {
                continue;
            }
            match self.map.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(map_error("RULES", &error)),
            }
        }
        Ok(())
    }
}

/// Names of files that sessions wrote. There are some only where an earlier recorder
/// left them.
fn written_in(map: &HashMap<MapData, RuleKey, u32>) -> Result<HashSet<Vec<u8>>, MapError> {
    let mut written = HashSet::new();
    for entry in map.iter() {
        let (key, value) = entry?;
        if value & WRITTEN_NAME != 0 && key.kind == EXECUTABLE {
            let name = key.pattern.get(..key.len as usize).unwrap_or_default();
            written.insert(name.to_vec());
        }
    }
    Ok(written)
}

/// Kinds of keys under which a written name is looked up: a program's name, and an
/// argument.
const KINDS: [u32; 2] = [EXECUTABLE, SCRIPT];

/// E2BIG (bpf(2), BPF_MAP_UPDATE_ELEM).
fn is_full(error: &MapError) -> bool {
    match error {
        MapError::SyscallError(error) => error.io_error.raw_os_error() == Some(libc::E2BIG),
        _ => false,
    }
}

/// `name` is shorter than a pattern.
fn key_of(kind: u32, name: &[u8]) -> RuleKey {
    let mut pattern = [0; PATTERN_BYTES];
    pattern[..name.len()].copy_from_slice(name);
    RuleKey {
        kind,
        // Below PATTERN_BYTES.
        len: name.len() as u32,
        pattern,
    }
}

/// The first eight bytes that an entry with this pattern has in memory.
fn environment_prefix(key: &RuleKey) -> Result<Option<u64>, Error> {
    let after = match key.kind {
        ENVIRONMENT => b'\0',
        ENVIRONMENT_NAME => b'=',
        _ => return Ok(None),
    };
    let mut bytes = key.pattern.to_vec();
    bytes.truncate(key.len as usize);
    bytes.push(after);
    match bytes.first_chunk::<8>() {
        Some(prefix) => Ok(Some(u64::from_ne_bytes(*prefix))),
        None => Err(Error::Rule {
            pattern: String::from_utf8_lossy(&bytes[..key.len as usize]).into_owned(),
            why: "an environment mark needs at least seven bytes",
        }),
    }
}
