//! Positions beside a stream's segments: a number and its chain value.
//!
//! `head` is the last durable position; `freed` is the last one that was removed to
//! make room. A position has two slots, written in turn and a sector apart: a power
//! loss that tears one leaves the other.

use std::io;
use std::path::{Path, PathBuf};

use super::Error;
use super::disk::{Disk, Handle, read_up_to, write_on};
use super::error::io;
use crate::record::Seq;
use crate::record::chain::{CHAIN_BYTES, Chain};

/// File of the last durable position.
pub(super) const HEAD: &str = "head";
/// File of the last removed position.
pub(super) const FREED: &str = "freed";
/// Bytes of a slot: number, chain value, CRC32C.
const SLOT_BYTES: usize = 8 + CHAIN_BYTES + 4;
/// Smallest sector that disks write as a whole, bytes.
const SECTOR: u64 = 512;

/// One position, open for writing.
#[derive(Debug)]
pub(super) struct Position {
    file: Box<dyn Handle>,
    path: PathBuf,
    /// The slot that is written next, which is not the newest one.
    turn: u64,
}

impl Position {
    /// Opens a position. A missing file is created with room for both slots, so that
    /// setting it needs no space, and with the value `start`: an empty file counts as
    /// damaged.
    pub(super) fn open(
        disk: &dyn Disk,
        directory: &Path,
        name: &str,
        start: &Chain,
    ) -> Result<Self, Error> {
        let path = directory.join(name);
        let file = match disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = disk.create(&path).map_err(io("create", &path))?;
                let zeros = [0; SECTOR as usize + SLOT_BYTES];
                write_on(&*file, &zeros, 0, &mut 0).map_err(io("write", &path))?;
                file
            }
            other => other.map_err(io("open", &path))?,
        };
        let newest = slots(&*file)
            .into_iter()
            .enumerate()
            .filter_map(|(slot, chain)| Some((chain?.seq(), slot)))
            .max();
        let turn = newest.map_or(0, |(_, slot)| 1 - slot as u64);
        let mut position = Self { file, path, turn };
        if newest.is_none() {
            position.set(start)?;
            disk.sync_directory(directory)
                .map_err(io("sync", directory))?;
        }
        Ok(position)
    }

    /// Sets the position durably. After an error the next call writes the same page
    /// again.
    pub(super) fn set(&mut self, chain: &Chain) -> Result<(), Error> {
        let mut bytes = chain.seq().0.to_le_bytes().to_vec();
        bytes.extend_from_slice(&chain.value());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        write_on(&*self.file, &bytes, self.turn * SECTOR, &mut 0)
            .map_err(io("write", &self.path))?;
        self.file.sync().map_err(io("sync", &self.path))?;
        self.turn = 1 - self.turn;
        Ok(())
    }
}

/// Reads a position; `None` where the file is missing or unreadable.
pub(super) fn read(disk: &dyn Disk, directory: &Path, name: &str) -> Option<Chain> {
    let file = disk.open_to_read(&directory.join(name)).ok()?;
    slots(&*file).into_iter().flatten().max_by_key(Chain::seq)
}

fn slots(file: &dyn Handle) -> [Option<Chain>; 2] {
    [0, SECTOR].map(|offset| {
        let mut bytes = [0; SLOT_BYTES];
        (read_up_to(file, &mut bytes, offset).ok()? == SLOT_BYTES)
            .then(|| decode(&bytes))
            .flatten()
    })
}

fn decode(bytes: &[u8]) -> Option<Chain> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    let (seq, value) = content.split_first_chunk::<8>()?;
    let seq = Seq(u64::from_le_bytes(*seq));
    let valid = crc32c::crc32c(content) == u32::from_le_bytes(*crc);
    valid.then(|| value.try_into().ok().map(|value| Chain::at(seq, value)))?
}
