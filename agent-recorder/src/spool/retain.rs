//! Makes room by removing the oldest segments as a whole, never the open one.
//!
//! The order is: `freed` is set, names are removed, the directory is synced. After a
//! power loss at any moment the next start completes the removal. Segments are
//! removed in the order of their numbers, so that acknowledged ones are first.

use std::io;
use std::time::SystemTime;

use super::Error;
use super::disk::{Disk, read_up_to};
use super::error::io;
use super::log::Log;
use super::names::{self, Key};
use super::segment::{Segment, Step};
use crate::record::Seq;
use crate::record::chain::{self, CHAIN_BYTES, Chain};

/// The file beside the segments with the number that a collector has acknowledged, in
/// decimal.
const ACKNOWLEDGED: &str = "acked";
/// Segments that are removed at once when the disk is full.
const AT_ONCE: usize = 4;
/// Bytes of the longest number and a newline.
const NUMBER_BYTES: usize = 21;

/// A range of records that were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// The last number that a collector acknowledged; `None` without a collector.
    pub(super) acknowledged: Option<Seq>,
    pub(super) why: &'static str,
}

impl Freed {
    /// The removed records that the collector had not acknowledged.
    pub(super) fn unacknowledged(&self) -> Option<(Seq, Seq)> {
        let acknowledged = self.acknowledged.filter(|seq| *seq < self.last)?;
        Some((self.first.max(acknowledged.next()), self.last))
    }
}

/// A segment that is no longer written.
#[derive(Clone, Copy, Debug)]
struct Sealed {
    key: Key,
    last: Seq,
    bytes: u64,
    modified: SystemTime,
}

impl Log {
    /// Removes segments beyond the configured size and age.
    pub(super) fn retain(&mut self, now: SystemTime) -> Result<Option<Freed>, Error> {
        let sealed = self.sealed()?;
        let mut held = self.bytes()?;
        let mut why = "";
        let go = sealed
            .iter()
            .take_while(|segment| {
                let age = now.duration_since(segment.modified).unwrap_or_default();
                if held > self.options.retain_bytes {
                    why = "the spool is as large as it may be";
                } else if age > self.options.retain_age {
                    why = "they are as old as they may be";
                } else {
                    return false;
                }
                held -= segment.bytes;
                true
            })
            .count();
        self.free(&sealed[..go], why)
    }

    /// Bytes of all segments of the stream.
    pub(super) fn bytes(&self) -> Result<u64, Error> {
        let mut bytes = 0;
        for key in names::segments(&*self.disk, &self.directory)? {
            let path = self.directory.join(key.name());
            let length = self
                .disk
                .open_to_read(&path)
                .and_then(|file| file.length())
                .map_err(io("look at", &path))?;
            bytes += length.unwrap_or(0);
        }
        Ok(bytes)
    }

    /// Removes some of the acknowledged segments.
    pub(super) fn make_room(&mut self) -> Result<Option<Freed>, Error> {
        let Some(acknowledged) = acknowledged(&*self.disk, self) else {
            return Ok(None);
        };
        let sealed = self.sealed()?;
        let go = sealed
            .iter()
            .take(AT_ONCE)
            .take_while(|segment| segment.last <= acknowledged)
            .count();
        self.free(
            &sealed[..go],
            "the disk is full, and the collector has them",
        )
    }

    fn sealed(&self) -> Result<Vec<Sealed>, Error> {
        let keys = names::segments(&*self.disk, &self.directory)?;
        let mut sealed = Vec::new();
        for pair in keys.windows(2) {
            let (key, next) = (pair[0], pair[1].first);
            let last = Seq(next.0.saturating_sub(1));
            let path = self.directory.join(key.name());
            if last > self.durable || self.writes(&path) {
                break;
            }
            // The frames of the next segment are not durable yet.
            if next > self.durable && self.has_from(key, next)? {
                break;
            }
            let look = || {
                let file = self.disk.open_to_read(&path)?;
                Ok((file.length()?.unwrap_or(0), file.modified()?))
            };
            let (bytes, modified) = look().map_err(io("look at", &path))?;
            sealed.push(Sealed {
                key,
                last,
                bytes,
                modified,
            });
        }
        Ok(sealed)
    }

    fn free(&mut self, go: &[Sealed], why: &'static str) -> Result<Option<Freed>, Error> {
        let (Some(from), Some(to)) = (go.first(), go.last()) else {
            return Ok(None);
        };
        let freed = Freed {
            first: from.key.first,
            last: to.last,
            acknowledged: acknowledged(&*self.disk, self),
            why,
        };
        // A segment that was replaced as a whole ends before it begins, and frees no number.
        if let Some(to) = go.iter().rfind(|segment| segment.key.first <= segment.last) {
            let value = self.value_at(to)?;
            self.freed.set(&Chain::at(to.last, value))?;
        }
        for segment in go {
            let path = self.directory.join(segment.key.name());
            self.disk.remove(&path).map_err(io("remove", &path))?;
        }
        self.disk
            .sync_directory(&self.directory)
            .map_err(io("sync", &self.directory))?;
        Ok((freed.first <= freed.last).then_some(freed))
    }

    /// Whether a segment has a frame of this number or a later one: such frames are written
    /// anew in the next segment, and are replaced once that is durable.
    fn has_from(&self, key: Key, first: Seq) -> Result<bool, Error> {
        let segment = Segment::open(&*self.disk, &self.directory, self.stream, key)?;
        let Some(mut segment) = segment else {
            return Ok(false);
        };
        loop {
            match segment.step(None)? {
                Step::Frame { seq, .. } if seq >= first => return Ok(true),
                Step::End { .. } => return Ok(false),
                Step::Frame { .. } | Step::Stray { .. } => {}
            }
        }
    }

    /// The chain value at a segment's end; zeros where it cannot be read.
    fn value_at(&self, sealed: &Sealed) -> Result<[u8; CHAIN_BYTES], Error> {
        let mut value = None;
        let segment = Segment::open(&*self.disk, &self.directory, self.stream, sealed.key)?;
        if let Some(mut segment) = segment {
            while let Step::Frame { seq, bytes } = segment.step(Some(sealed.last.next()))? {
                if seq == sealed.last {
                    value = chain::split(&bytes).map(|(_, value)| value);
                }
            }
        }
        Ok(value.unwrap_or_default())
    }
}

/// Completes a removal that a power loss interrupted: removes segments up to `freed`. One
/// that begins behind it stays, also where a later one begins at the same number: its frames
/// may be the only durable ones.
pub(super) fn finish(
    disk: &dyn Disk,
    directory: &std::path::Path,
    freed: Seq,
    keys: &mut Vec<Key>,
) {
    let gone = keys
        .windows(2)
        .take_while(|pair| pair[0].first <= freed && pair[1].first <= freed.next())
        .count();
    for key in keys.drain(..gone) {
        // If the file stays, readers begin after it all the same.
        let _ = disk.remove(&directory.join(key.name()));
    }
}

fn acknowledged(disk: &dyn Disk, log: &Log) -> Option<Seq> {
    let read = || -> io::Result<Option<Seq>> {
        let file = disk.open_to_read(&log.directory.join(ACKNOWLEDGED))?;
        let mut bytes = [0; NUMBER_BYTES];
        let length = read_up_to(&*file, &mut bytes, 0)?;
        let text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
        Ok(text.trim().parse().ok().map(Seq))
    };
    // A number that is too large frees no more than is durable.
    read().ok()?.map(|seq| seq.min(log.durable))
}
