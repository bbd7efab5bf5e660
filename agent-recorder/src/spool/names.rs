//! The names of segments, which contain their first numbers.

use std::cmp::Ordering;
use std::path::Path;

use super::Error;
use super::disk::Disk;
use super::error::io;
use crate::record::Seq;

/// The end of the names of segments that replace no other yet.
const UNFINISHED: &str = ".new";

/// A segment's position in its stream. The segment ends where the next one begins:
/// frames from there on were written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// The first number of the segment.
    pub(super) first: Seq,
    /// The number of earlier segments with the same first number.
    pub(super) attempt: u32,
}

impl Key {
    pub(super) fn name(self) -> String {
        match self.attempt {
            0 => format!("{:020}.seg", self.first.0),
            attempt => format!("{:020}.{attempt}.seg", self.first.0),
        }
    }

    /// The name while frames of an earlier segment are written into this one: no reader
    /// takes it for a segment.
    pub(super) fn unfinished(self) -> String {
        format!("{}{UNFINISHED}", self.name())
    }

    fn parse(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".seg")?;
        let (first, attempt) = match stem.split_once('.') {
            Some((first, attempt)) => (first, attempt.parse().ok()?),
            None => (stem, 0),
        };
        let first = Seq(first.parse().ok()?);
        Some(Self { first, attempt }).filter(|key| key.name() == name)
    }
}

/// The segments of a stream, in order.
pub(super) fn segments(disk: &dyn Disk, directory: &Path) -> Result<Vec<Key>, Error> {
    let names = disk.list(directory).map_err(io("list", directory))?;
    let mut keys: Vec<Key> = names.iter().filter_map(|name| Key::parse(name)).collect();
    keys.sort_unstable();
    Ok(keys)
}

/// The names of segments that were not finished.
pub(super) fn unfinished(disk: &dyn Disk, directory: &Path) -> Result<Vec<String>, Error> {
    let mut names = disk.list(directory).map_err(io("list", directory))?;
    names.retain(|name| {
        let key = name.strip_suffix(UNFINISHED).and_then(Key::parse);
        key.is_some()
    });
    Ok(names)
}

/// The segment that contains a number; else the first.
pub(super) fn holding(keys: &[Key], seq: Seq) -> Option<Key> {
    let behind = keys.partition_point(|key| key.first.cmp(&seq) != Ordering::Greater);
    keys.get(behind.saturating_sub(1)).copied()
}
