//! Continues a stream of an earlier writer.
//!
//! Only the segment with the last durable number and later ones are read, so that a
//! long backlog costs nothing. A durable number is never given again, whatever became
//! of its frame, because a collector may have it. Frames that were written and
//! perhaps not synced are written anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;

use super::directory::Lock;
use super::disk::Disk;
use super::error::io;
use super::format::{self, HEADER_BYTES};
use super::log::{Log, Open, Start};
use super::names::{self, Key};
use super::position::{self, HEAD};
use super::read::{Cursor, Raw, beginning};
use super::{Error, Options, retain};
use crate::record::chain::{self, Chain};
use crate::record::{Seq, StreamId, proto};

/// Most bytes of frames after the head that are written anew: a writer never has more
/// of them.
const REWRITTEN_BYTES: usize = 8 << 20;
/// Most ranges that are reported one by one. Further damage is reported as one range.
const RANGES: usize = 256;

/// A range of numbers that were given and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// Whether the numbers were durable.
    pub(super) durable: bool,
}

/// The use of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The recorder gives numbers to new records.
    Numbers,
    /// Numbers come with the records, and missing ones are sent again.
    Copies,
}

/// A stream that is continued.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) log: Log,
    /// Missing numbers that no record declares yet.
    pub(super) missing: Vec<Missing>,
}

/// State while the end of a stream is read.
#[derive(Debug)]
struct Scan {
    /// The durable position; `None` where there is no head.
    head: Option<Chain>,
    /// The chain after the last record; `None` before the first one.
    chain: Option<Chain>,
    /// Frames after the head.
    beyond: Vec<u8>,
    beyond_first: Option<Seq>,
    /// Whether there are more frames after the head than are stored here.
    overflow: bool,
    missing: Vec<Missing>,
    /// Whether the frame after the head does not continue its chain: this frame and
    /// all later ones are foreign.
    foreign: bool,
    /// Whether a segment is damaged, and must not be appended to.
    flawed: bool,
    last_read: Option<Seq>,
}

/// Opens the end of a stream.
pub(super) fn resume(
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    stream: StreamId,
    options: Options,
    lock: Option<Lock>,
    role: Role,
) -> Result<Resumed, Error> {
    let begins = beginning(&*disk, &directory, stream);
    let head = position::read(&*disk, &directory, HEAD);
    let known = head.filter(|head| head.seq() >= begins.seq());
    let mut keys = remove_empty(&*disk, &directory)?;
    retain::finish(&*disk, &directory, begins.seq(), &mut keys);
    if role == Role::Numbers && known.is_none() && !keys.is_empty() {
        return Err(Error::Format {
            path: directory.join(HEAD),
            why: "it does not say how far the stream was durable, and no number may be given twice",
        });
    }
    let mut scan = Scan::new(known);
    let mut cursor = Cursor::new(Arc::clone(&disk), directory.clone(), stream);
    let mut candidates = match known {
        Some(head) => names::holding(&keys, head.seq()).into_iter().collect(),
        None => keys.clone(),
    };
    // Without a head, the last segment with a record is read.
    while let Some(key) = candidates.pop() {
        if key.first == begins.seq().next() {
            scan.chain = Some(begins);
        }
        cursor.seek(key.first)?;
        scan.read(&mut cursor)?;
        if scan.last_read.is_some() {
            break;
        }
    }
    // Where nothing can be read, the stream continues from the last known position.
    let known = known.unwrap_or(begins);
    let chain = match scan.chain {
        Some(chain) if chain.seq() >= known.seq() => chain,
        read => {
            let before = read.map_or_else(|| cursor.expected().0 - 1, |chain| chain.seq().0);
            scan.miss(Seq(before.max(begins.seq().0)).next(), known.seq());
            known
        }
    };
    if scan.overflow {
        sync_segments(&*disk, &directory, &keys, known.seq())?;
        scan.beyond_first = None;
    }
    let rewritten = scan.beyond_first.is_some() || scan.overflow;
    let clean = !rewritten && !scan.foreign && !scan.flawed && scan.missing.is_empty();
    let segment = clean
        .then(|| last_segment(&*disk, &cursor, &keys))
        .flatten();
    let start = Start {
        chain,
        durable: known.seq(),
        segment,
        waiting: scan.beyond_first.map(|first| (first, scan.beyond)),
    };
    Ok(Resumed {
        log: Log::new(disk, directory, stream, options, lock, start)?,
        missing: scan.missing,
    })
}

impl Scan {
    fn new(head: Option<Chain>) -> Self {
        Self {
            head,
            chain: None,
            beyond: Vec::new(),
            beyond_first: None,
            overflow: false,
            missing: Vec::new(),
            foreign: false,
            flawed: false,
            last_read: None,
        }
    }

    /// Reads to the end, or to the first foreign frame.
    fn read(&mut self, cursor: &mut Cursor) -> Result<(), Error> {
        while !self.foreign {
            match cursor.next_raw()? {
                None | Some(Raw::Damage { last: None, .. }) => break,
                Some(Raw::Damage {
                    first,
                    last: Some(last),
                    ..
                }) => self.miss(first, last),
                Some(Raw::Flaw { .. }) => self.flawed = true,
                Some(Raw::Frame { seq, bytes }) => self.frame(seq, &bytes),
            }
        }
        Ok(())
    }

    fn frame(&mut self, seq: Seq, stored: &[u8]) {
        let Some((_, value)) = chain::split(stored) else {
            return self.miss(seq, seq);
        };
        self.last_read = Some(seq);
        self.declared(stored);
        let durable = self.durable();
        if seq < durable {
            self.chain = Some(Chain::at(seq, value));
            return;
        }
        if let Some(head) = self.head.filter(|_| seq == durable) {
            // `verify` decides whether the record at the head is the durable one.
            self.chain = Some(head);
            return;
        }
        let before = match self.head {
            Some(head) if seq == durable.next() => Some(head),
            _ => self.chain.filter(|chain| chain.seq().next() == seq),
        };
        if let Some(mut chain) = before
            && !chain.verify(seq, stored)
        {
            self.foreign = true;
            return;
        }
        self.chain = Some(Chain::at(seq, value));
        if self.beyond.len() + stored.len() > REWRITTEN_BYTES {
            self.overflow = true;
            self.beyond = Vec::new();
        }
        if !self.overflow {
            self.beyond_first.get_or_insert(seq);
            self.beyond.extend_from_slice(&format::frame(seq, stored));
            self.beyond.extend_from_slice(stored);
        }
    }

    fn durable(&self) -> Seq {
        self.head.map_or(Seq::default(), |head| head.seq())
    }

    fn miss(&mut self, first: Seq, last: Seq) {
        let durable = self.durable();
        let parts = [
            (first, last.min(durable), true),
            (first.max(durable.next()), last, false),
        ];
        for (first, last, durable) in parts.into_iter().filter(|(first, last, _)| first <= last) {
            if self.missing.len() < RANGES {
                self.missing.push(Missing {
                    first,
                    last,
                    durable,
                });
            } else if let Some(range) = self.missing.last_mut() {
                range.last = last;
            }
        }
    }

    /// Removes the numbers that a loss record declares.
    fn declared(&mut self, stored: &[u8]) {
        if self.missing.is_empty() {
            return;
        }
        if let Ok(record) = proto::Record::decode(stored)
            && let Some(proto::record::Body::Loss(loss)) = record.body
        {
            let told = loss.first_seq..=loss.last_seq;
            self.missing
                .retain(|range| !(told.contains(&range.first.0) && told.contains(&range.last.0)));
        }
    }
}

/// The segments of a stream, without unfinished ones, and without empty ones at its end:
/// these were begun and never written, and would replace frames of earlier ones.
fn remove_empty(disk: &dyn Disk, directory: &Path) -> Result<Vec<Key>, Error> {
    for name in names::unfinished(disk, directory)? {
        // If the file stays, no reader takes it for a segment.
        let _ = disk.remove(&directory.join(name));
    }
    let mut keys = names::segments(disk, directory)?;
    while let Some(key) = keys.last() {
        let path = directory.join(key.name());
        let length = disk
            .open_to_read(&path)
            .and_then(|file| file.length())
            .map_err(io("look at", &path))?;
        if length.is_some_and(|length| length > HEADER_BYTES as u64) {
            break;
        }
        // If the file stays, readers skip it.
        let _ = disk.remove(&path);
        keys.pop();
    }
    Ok(keys)
}

/// Syncs the segments when the frames after the head are too many to write anew.
fn sync_segments(
    disk: &dyn Disk,
    directory: &Path,
    keys: &[Key],
    durable: Seq,
) -> Result<(), Error> {
    let from = names::holding(keys, durable);
    for key in keys.iter().filter(|key| Some(**key) >= from) {
        let path = directory.join(key.name());
        let file = disk.open(&path).map_err(io("open", &path))?;
        file.sync().map_err(io("sync", &path))?;
    }
    disk.sync_directory(directory)
        .map_err(io("sync", directory))
}

/// The last segment, cut after its last good frame, if the stream can continue in it.
/// Otherwise a new one is begun.
fn last_segment(disk: &dyn Disk, cursor: &Cursor, keys: &[Key]) -> Option<Open> {
    let segment = cursor.segment()?;
    if Some(&segment.key) != keys.last() {
        return None;
    }
    // An earlier writer may have removed a later segment, and died before the removal was
    // durable. Frames that are written from here on must not be replaced by it.
    disk.sync_directory(cursor.directory()).ok()?;
    let file = disk.open(segment.path()).ok()?;
    if file.length().ok()?? != segment.good_end {
        file.set_len(segment.good_end).ok()?;
        file.sync().ok()?;
    }
    Some(Open {
        file,
        path: segment.path().to_owned(),
        synced: segment.good_end,
        begun: Instant::now(),
    })
}
