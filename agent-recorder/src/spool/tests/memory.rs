//! A disk in memory that fails on demand, and at a power loss forgets what was not
//! synced, in any order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::super::disk::{Disk, Handle};

/// Faults of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Faults {
    /// Number of writes until one fails.
    pub(super) write_in: Option<u32>,
    /// Number of syncs until one fails.
    pub(super) sync_in: Option<u32>,
    /// Whether every write and sync fails.
    pub(super) broken: bool,
    /// Most bytes of all files together.
    pub(super) capacity: Option<u64>,
}

/// The disk; clones share their state.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    names: BTreeMap<PathBuf, usize>,
    /// Names as of the last sync of the directory.
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names since then.
    renamings: Vec<(PathBuf, Option<usize>)>,
    faults: Faults,
}

#[derive(Debug, Default)]
struct File {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// Changes that are not synced, in their order.
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, content) => {
                let (from, to) = (*offset as usize, *offset as usize + content.len());
                if bytes.len() < to {
                    bytes.resize(to, 0);
                }
                bytes[from..to].copy_from_slice(content);
            }
            Self::Length(length) => bytes.resize(*length as usize, 0),
        }
    }
}

fn errno(errno: rustix::io::Errno) -> io::Error {
    errno.into()
}

impl State {
    fn must_fail(counter: &mut Option<u32>) -> bool {
        match counter {
            Some(0) => {
                *counter = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        let found = self.names.get(path).copied();
        found.ok_or_else(|| errno(rustix::io::Errno::NOENT))
    }

    fn used(&self) -> u64 {
        let lengths = self
            .names
            .values()
            .map(|file| self.files[*file].cached.len());
        lengths.sum::<usize>() as u64
    }
}

impl MemoryDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// The bytes of a file, without the cache.
    pub(super) fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let file = state.names.get(path)?;
        Some(state.files[*file].cached.clone())
    }

    /// Loses the power and restores it: `survives` decides for each change that was
    /// not synced whether it reached the disk.
    pub(super) fn lose_power(&self, mut survives: impl FnMut() -> bool) {
        let mut state = self.state();
        let mut names = state.durable_names.clone();
        for (path, file) in std::mem::take(&mut state.renamings) {
            if survives() {
                match file {
                    Some(file) => names.insert(path, file),
                    None => names.remove(&path),
                };
            }
        }
        state.names.clone_from(&names);
        state.durable_names = names;
        for file in &mut state.files {
            for change in std::mem::take(&mut file.changes) {
                if survives() {
                    change.apply(&mut file.durable);
                }
            }
            file.cached.clone_from(&file.durable);
        }
        state.faults = Faults::default();
    }

    /// Writes a small file that is not a segment.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.state();
        let file = File {
            cached: bytes.to_vec(),
            durable: bytes.to_vec(),
            changes: Vec::new(),
        };
        state.files.push(file);
        let file = state.files.len() - 1;
        state.names.insert(path.to_owned(), file);
        state.durable_names.insert(path.to_owned(), file);
    }

    /// Bytes of all files.
    pub(super) fn used(&self) -> u64 {
        self.state().used()
    }

    fn handle(&self, file: usize) -> Box<dyn Handle> {
        Box::new(MemoryFile {
            disk: self.clone(),
            file,
        })
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut state = self.state();
        if state.names.contains_key(path) {
            return Err(errno(rustix::io::Errno::EXIST));
        }
        if state.faults.broken {
            return Err(errno(rustix::io::Errno::ROFS));
        }
        state.files.push(File::default());
        let file = state.files.len() - 1;
        state.names.insert(path.to_owned(), file);
        state.renamings.push((path.to_owned(), Some(file)));
        drop(state);
        Ok(self.handle(file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let file = self.state().find(path)?;
        Ok(self.handle(file))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        self.open(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state
            .names
            .keys()
            .filter(|path| path.parent() == Some(directory));
        Ok(names
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    /// A power loss can keep either half of it: harsher than any file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.faults.broken {
            return Err(errno(rustix::io::Errno::ROFS));
        }
        let file = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        state.renamings.push((from.to_owned(), None));
        state.renamings.push((to.to_owned(), Some(file)));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.faults.broken {
            return Err(errno(rustix::io::Errno::ROFS));
        }
        state.find(path)?;
        state.names.remove(path);
        state.renamings.push((path.to_owned(), None));
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.faults.broken || State::must_fail(&mut state.faults.sync_in) {
            return Err(errno(rustix::io::Errno::IO));
        }
        state.durable_names = state.names.clone();
        state.renamings.clear();
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl Handle for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.files[self.file].cached;
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        if state.faults.broken {
            return Err(errno(rustix::io::Errno::IO));
        }
        let mut take = bytes.len();
        if State::must_fail(&mut state.faults.write_in) {
            // A part is written before the failure.
            take /= 2;
            if take == 0 {
                return Err(errno(rustix::io::Errno::IO));
            }
            state.faults.write_in = Some(0);
        }
        if let Some(capacity) = state.faults.capacity {
            let end = state.files[self.file].cached.len() as u64;
            let beyond = (offset + take as u64).saturating_sub(end);
            let free = capacity.saturating_sub(state.used());
            take -= usize::try_from(beyond.saturating_sub(free))
                .unwrap_or(take)
                .min(take);
            if take == 0 {
                return Err(errno(rustix::io::Errno::NOSPC));
            }
        }
        let change = Change::Write(offset, bytes[..take].to_vec());
        let file = &mut state.files[self.file];
        change.apply(&mut file.cached);
        file.changes.push(change);
        Ok(take)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.faults.broken {
            return Err(errno(rustix::io::Errno::IO));
        }
        let change = Change::Length(length);
        let file = &mut state.files[self.file];
        change.apply(&mut file.cached);
        file.changes.push(change);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fails = state.faults.broken || State::must_fail(&mut state.faults.sync_in);
        let file = &mut state.files[self.file];
        let changes = std::mem::take(&mut file.changes);
        if fails {
            // The pages are clean now, and never reach the disk.
            return Err(errno(rustix::io::Errno::IO));
        }
        for change in changes {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    fn modified(&self) -> io::Result<SystemTime> {
        Ok(SystemTime::UNIX_EPOCH)
    }

    fn length(&self) -> io::Result<Option<u64>> {
        let state = self.disk.state();
        let named = state.names.values().any(|file| *file == self.file);
        Ok(named.then(|| state.files[self.file].cached.len() as u64))
    }
}
