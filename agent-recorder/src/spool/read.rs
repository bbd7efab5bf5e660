//! Reads streams: forward, in constant memory, past damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message as _;

use super::Error;
use super::disk::{Disk, Host};
use super::error::io;
use super::growth::Growth;
use super::names::{self, Key};
use super::position::{self, FREED, HEAD};
use super::segment::{Segment, Step};
use crate::record::chain::{CHAIN_BYTES, Chain};
use crate::record::{Seq, StreamId, proto};

/// A folder of streams.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// The next item of a stream.
#[derive(Clone, Debug)]
pub enum Item {
    /// A record with a correct checksum.
    Record {
        /// Its number.
        seq: Seq,
        /// The decoded record.
        record: Box<proto::Record>,
        /// The stored bytes.
        bytes: Vec<u8>,
    },
    /// Numbers that are missing.
    Damage {
        /// The first of them.
        first: Seq,
        /// The last of them, unknown at the end of the stream.
        last: Option<Seq>,
        /// The reason.
        why: &'static str,
    },
    /// Something differs from what was written, but no number is missing by it.
    Flaw {
        /// The number at the flaw.
        at: Seq,
        /// The flaw.
        why: &'static str,
    },
}

impl Store {
    /// Opens a state directory's `spool`, or a collector's store.
    ///
    /// # Errors
    ///
    /// The directory is missing.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        if !directory.is_dir() {
            return Err(Error::Empty {
                path: directory.to_owned(),
            });
        }
        Ok(Self {
            directory: directory.to_owned(),
        })
    }

    /// Its streams, oldest first.
    ///
    /// # Errors
    ///
    /// The folder cannot be read.
    pub fn streams(&self) -> Result<Vec<StreamId>, Error> {
        let mut streams = stream_ids(&self.directory)?;
        streams.sort_unstable();
        Ok(streams)
    }

    /// Reports when a stream grows.
    ///
    /// # Errors
    ///
    /// inotify(7) refuses: the stream's folder is gone, or the user has too many watches.
    pub fn watch(&self, stream: StreamId) -> Result<Growth, Error> {
        let directory = self.folder(stream);
        Growth::new(&directory).map_err(io("watch", &directory))
    }

    /// The folder of a stream.
    pub fn folder(&self, stream: StreamId) -> PathBuf {
        self.directory.join(stream.to_string())
    }

    /// A cursor at the beginning of a stream, which reads all written records.
    ///
    /// # Errors
    ///
    /// The stream's folder cannot be read.
    pub fn cursor(&self, stream: StreamId) -> Result<Cursor, Error> {
        Ok(Cursor::new(Arc::new(Host), self.folder(stream), stream))
    }

    /// A cursor that reads durable records only: a record that leaves this machine
    /// must never be written differently after a power loss.
    ///
    /// # Errors
    ///
    /// The stream's folder cannot be read.
    pub fn durable_cursor(&self, stream: StreamId) -> Result<Cursor, Error> {
        let mut cursor = self.cursor(stream)?;
        cursor.only_durable();
        Ok(cursor)
    }

    /// The last durable number of a stream, and its chain value.
    pub fn head(&self, stream: StreamId) -> Option<(Seq, [u8; CHAIN_BYTES])> {
        let head = position::read(&Host, &self.folder(stream), HEAD)?;
        Some((head.seq(), head.value()))
    }

    /// The chain before the first stored record: after the records that were removed
    /// to make room.
    pub fn beginning(&self, stream: StreamId) -> Chain {
        beginning(&Host, &self.folder(stream), stream)
    }
}

/// The folders whose names are ids of streams; others are skipped.
pub(super) fn stream_ids(directory: &Path) -> Result<Vec<StreamId>, Error> {
    let entries = fs::read_dir(directory).map_err(io("list", directory))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// The chain before the first stored record.
pub(super) fn beginning(disk: &dyn Disk, directory: &Path, stream: StreamId) -> Chain {
    position::read(disk, directory, FREED).unwrap_or_else(|| Chain::start(stream))
}

/// Reads one stream from its beginning, or from a number on.
#[derive(Debug)]
pub struct Cursor {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    stream: StreamId,
    expected: Seq,
    segment: Option<Segment>,
    /// The first number of the following segment, as of the opening.
    ceiling: Option<Seq>,
    /// The last number that a durable cursor reads.
    durable: Option<Seq>,
}

/// The next item, not decoded.
#[derive(Debug)]
pub(super) enum Raw {
    Frame {
        seq: Seq,
        bytes: Vec<u8>,
    },
    Damage {
        first: Seq,
        last: Option<Seq>,
        why: &'static str,
    },
    Flaw {
        at: Seq,
        why: &'static str,
    },
}

impl Cursor {
    pub(super) fn new(disk: Arc<dyn Disk>, directory: PathBuf, stream: StreamId) -> Self {
        let expected = beginning(&*disk, &directory, stream).seq().next();
        Self {
            disk,
            directory,
            stream,
            expected,
            segment: None,
            ceiling: None,
            durable: None,
        }
    }

    /// The stream of the cursor.
    pub fn stream_id(&self) -> StreamId {
        self.stream
    }

    /// Limits the cursor to the head.
    pub(super) fn only_durable(&mut self) {
        self.durable = Some(Seq::default());
    }

    /// The next number.
    pub(super) fn expected(&self) -> Seq {
        self.expected
    }

    /// The folder of the stream.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The open segment.
    pub(super) fn segment(&self) -> Option<&Segment> {
        self.segment.as_ref()
    }

    /// Continues from a number. Missing numbers follow as damage.
    ///
    /// # Errors
    ///
    /// Reading fails.
    pub fn seek(&mut self, seq: Seq) -> Result<(), Error> {
        let keys = names::segments(&*self.disk, &self.directory)?;
        if let Some(key) = names::holding(&keys, seq) {
            self.open(key, &keys)?;
        }
        self.expected = seq;
        Ok(())
    }

    /// The next record or damage; `None` at the present end. A later call continues
    /// when more was written.
    ///
    /// # Errors
    ///
    /// Reading fails.
    #[expect(
        clippy::should_implement_trait,
        reason = "it can fail, and go on after its end"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        Ok(self.next_raw()?.map(|raw| match raw {
            Raw::Damage { first, last, why } => Item::Damage { first, last, why },
            Raw::Flaw { at, why } => Item::Flaw { at, why },
            Raw::Frame { seq, bytes } => match proto::Record::decode(bytes.as_slice()) {
                Ok(record) => Item::Record {
                    seq,
                    record: Box::new(record),
                    bytes,
                },
                Err(_) => Item::Damage {
                    first: seq,
                    last: Some(seq),
                    why: "it is no record",
                },
            },
        }))
    }

    pub(super) fn next_raw(&mut self) -> Result<Option<Raw>, Error> {
        loop {
            if !self.may_read() {
                return Ok(None);
            }
            let Some(segment) = &mut self.segment else {
                if !self.next_segment()? {
                    return Ok(None);
                }
                continue;
            };
            if let Some(why) = segment.flaw.take() {
                let at = segment.key.first;
                return Ok(Some(Raw::Flaw { at, why }));
            }
            match segment.step(self.ceiling)? {
                Step::Frame { seq, .. } if seq < self.expected => {}
                Step::Frame { seq, bytes } if seq == self.expected => {
                    self.expected = seq.next();
                    return Ok(Some(Raw::Frame { seq, bytes }));
                }
                Step::Frame { seq, bytes } => {
                    segment.back(seq, &bytes);
                    return Ok(Some(self.missing_until(seq, "they cannot be read")));
                }
                Step::Stray { seq } => {
                    let why = "its number was there before";
                    return Ok(Some(Raw::Flaw { at: seq, why }));
                }
                Step::End { torn } => {
                    if self.next_segment()? {
                        let first = self.segment.as_ref().map(|segment| segment.key.first);
                        if let Some(first) = first.filter(|first| *first > self.expected) {
                            let why = if torn {
                                "they cannot be read"
                            } else {
                                "they are not there"
                            };
                            return Ok(Some(self.missing_until(first, why)));
                        }
                        continue;
                    }
                    // The following segment is gone or incomplete, so the frames that
                    // it was to replace are read here.
                    if self.ceiling.take().is_some() {
                        continue;
                    }
                    return Ok(torn.then_some(Raw::Damage {
                        first: self.expected,
                        last: None,
                        why: "the end is damaged",
                    }));
                }
            }
        }
    }

    /// Whether the cursor may read the next number.
    fn may_read(&mut self) -> bool {
        let Some(durable) = self.durable else {
            return true;
        };
        if self.expected > durable {
            let head = position::read(&*self.disk, &self.directory, HEAD);
            self.durable = Some(head.map_or(Seq::default(), |head| head.seq()));
        }
        self.durable.is_some_and(|durable| self.expected <= durable)
    }

    fn missing_until(&mut self, seq: Seq, why: &'static str) -> Raw {
        let first = std::mem::replace(&mut self.expected, seq);
        Raw::Damage {
            first,
            last: Some(Seq(seq.0 - 1)),
            why,
        }
    }

    /// Continues with the following segment, or with the first; false when there is
    /// none.
    fn next_segment(&mut self) -> Result<bool, Error> {
        let keys = names::segments(&*self.disk, &self.directory)?;
        let current = self.segment.as_ref().map(|segment| segment.key);
        let behind = keys.partition_point(|key| Some(*key) <= current);
        for key in &keys[behind..] {
            if self.open(*key, &keys)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens a segment; false when it is empty, or was removed just now.
    pub(super) fn open(&mut self, key: Key, keys: &[Key]) -> Result<bool, Error> {
        let Some(segment) = Segment::open(&*self.disk, &self.directory, self.stream, key)? else {
            return Ok(false);
        };
        self.segment = Some(segment);
        self.ceiling = keys
            .iter()
            .find(|other| **other > key)
            .map(|other| other.first);
        Ok(true)
    }
}
