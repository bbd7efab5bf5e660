//! Reading streams: forward, in constant memory, past damage.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use prost::Message as _;

use super::Error;
use super::error::io;
use super::format::{self, FRAME_BYTES, Found, HEADER_BYTES, MAX_PAYLOAD, SegmentHeader};
use super::watch::Watch;
use crate::record::chain::CHAIN_BYTES;
use crate::record::{Seq, StreamId, proto};

/// The file that says how far a stream is durable.
pub(super) const HEAD: &str = "head";
/// Bytes read at once.
const CHUNK: usize = 256 << 10;

/// A folder of streams.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// What stands next in a stream.
#[derive(Clone, Debug)]
pub enum Item {
    /// A record whose checksum holds.
    Record {
        /// Its number.
        seq: Seq,
        /// Decoded.
        record: Box<proto::Record>,
        /// As stored.
        bytes: Vec<u8>,
    },
    /// Bytes that are none.
    Damage {
        /// First number that is missing.
        first: Seq,
        /// Last number that is missing, unknown at the end of the stream.
        last: Option<Seq>,
        /// What was found.
        why: &'static str,
    },
}

impl Store {
    /// Opens a state directory's `spool`, or a collector's store.
    ///
    /// # Errors
    ///
    /// There is none.
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

    /// Tells when a stream grows.
    ///
    /// # Errors
    ///
    /// inotify(7) refuses: the stream's folder is gone, or the user has too many watches.
    pub fn watch(&self, stream: StreamId) -> Result<Watch, Error> {
        let directory = self.directory.join(stream.to_string());
        Watch::new(&directory).map_err(io("watch", &directory))
    }

    /// Where a stream is kept.
    pub fn folder(&self, stream: StreamId) -> PathBuf {
        self.directory.join(stream.to_string())
    }

    /// A cursor at the beginning of a stream.
    ///
    /// # Errors
    ///
    /// The stream's folder cannot be read.
    pub fn cursor(&self, stream: StreamId) -> Result<Cursor, Error> {
        let directory = self.directory.join(stream.to_string());
        Ok(Cursor {
            directory,
            stream,
            expected: Seq(1),
            segment: None,
        })
    }

    /// How far a stream is known to have been durable: number and chain value.
    pub fn head(&self, stream: StreamId) -> Option<(Seq, [u8; CHAIN_BYTES])> {
        let bytes = fs::read(self.directory.join(stream.to_string()).join(HEAD)).ok()?;
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        let (seq, chain) = content.split_first_chunk::<8>()?;
        let valid = crc32c::crc32c(content) == u32::from_le_bytes(*crc);
        valid.then_some((Seq(u64::from_le_bytes(*seq)), chain.try_into().ok()?))
    }
}

/// The folders that are named as streams are; others are not ours.
pub(super) fn stream_ids(directory: &Path) -> Result<Vec<StreamId>, Error> {
    let entries = fs::read_dir(directory).map_err(io("list", directory))?;
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect())
}

/// Reads one stream from its beginning, or from a number on.
#[derive(Debug)]
pub struct Cursor {
    directory: PathBuf,
    stream: StreamId,
    expected: Seq,
    segment: Option<Segment>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    path: PathBuf,
    first: Seq,
    /// Offset in the file of `buffer[0]`.
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
}

impl Cursor {
    /// The stream that is read.
    pub fn stream_id(&self) -> StreamId {
        self.stream
    }

    /// Goes to the segment that holds a number, and on to it.
    ///
    /// # Errors
    ///
    /// Reading fails.
    pub fn seek(&mut self, seq: Seq) -> Result<(), Error> {
        let firsts = self.segment_firsts()?;
        let first = firsts
            .iter()
            .copied()
            .rfind(|first| *first <= seq)
            .or(firsts.first().copied());
        let Some(first) = first else { return Ok(()) };
        self.segment = Some(self.open_segment(first)?);
        self.expected = first;
        while self.expected < seq {
            if self.next_raw()?.is_none() {
                break;
            }
        }
        Ok(())
    }

    /// File and offset behind the last good frame.
    pub(super) fn position(&self) -> Option<(PathBuf, u64)> {
        let segment = self.segment.as_ref()?;
        Some((segment.path.clone(), segment.offset + segment.at as u64))
    }

    /// The next record or damage; `None` at the present end: a later call goes on when more was written.
    ///
    /// # Errors
    ///
    /// Reading fails, or a segment is not of this stream.
    #[expect(
        clippy::should_implement_trait,
        reason = "it can fail, and go on after its end"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, Error> {
        match self.next_raw()? {
            None => Ok(None),
            Some(Raw::Damage { first, last, why }) => Ok(Some(Item::Damage { first, last, why })),
            Some(Raw::Frame { seq, bytes }) => {
                Ok(Some(match proto::Record::decode(bytes.as_slice()) {
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
                }))
            }
        }
    }

    fn next_raw(&mut self) -> Result<Option<Raw>, Error> {
        loop {
            if self.segment.is_none() {
                let Some(first) = self.segment_firsts()?.first().copied() else {
                    return Ok(None);
                };
                self.segment = Some(self.open_segment(first)?);
            }
            let Some(segment) = &mut self.segment else {
                return Ok(None);
            };
            match segment.frame()? {
                Step::Frame { seq, bytes } if seq == self.expected => {
                    self.expected = seq.next();
                    return Ok(Some(Raw::Frame { seq, bytes }));
                }
                Step::Frame { seq, bytes } => {
                    // Numbers between are gone; stay before this frame.
                    segment.at -= FRAME_BYTES + bytes.len();
                    let first = self.expected;
                    self.expected = seq;
                    let last = Seq(seq.0.saturating_sub(1));
                    return Ok(Some(Raw::Damage {
                        first,
                        last: Some(last),
                        why: "numbers are missing",
                    }));
                }
                // The frame it stands at now tells which numbers are missing.
                Step::Skipped => {}
                Step::Damaged => {
                    if !self.next_segment()? {
                        let first = self.expected;
                        return Ok(Some(Raw::Damage {
                            first,
                            last: None,
                            why: "the end is damaged",
                        }));
                    }
                }
                Step::End => {
                    if !self.next_segment()? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    fn next_segment(&mut self) -> Result<bool, Error> {
        let Some(current) = self.segment.as_ref().map(|segment| segment.first) else {
            return Ok(false);
        };
        let Some(next) = self
            .segment_firsts()?
            .into_iter()
            .find(|first| *first > current)
        else {
            return Ok(false);
        };
        self.segment = Some(self.open_segment(next)?);
        Ok(true)
    }

    fn segment_firsts(&self) -> Result<Vec<Seq>, Error> {
        let entries = fs::read_dir(&self.directory).map_err(io("list", &self.directory))?;
        let mut firsts: Vec<Seq> = entries
            .filter_map(|entry| {
                entry
                    .ok()?
                    .file_name()
                    .to_str()?
                    .strip_suffix(".seg")?
                    .parse()
                    .ok()
                    .map(Seq)
            })
            .collect();
        firsts.sort_unstable();
        Ok(firsts)
    }

    fn open_segment(&self, first: Seq) -> Result<Segment, Error> {
        let path = self.directory.join(format!("{:020}.seg", first.0));
        let file = File::open(&path).map_err(io("open", &path))?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0)
            .map_err(io("read the header of", &path))?;
        let found = SegmentHeader::decode(&header).map_err(|why| Error::Format {
            path: path.clone(),
            why,
        })?;
        if found.stream != self.stream || found.first != first {
            return Err(Error::Format {
                path,
                why: "it belongs to another stream or place",
            });
        }
        Ok(Segment {
            file,
            path,
            first,
            offset: HEADER_BYTES as u64,
            buffer: Vec::new(),
            at: 0,
        })
    }
}

enum Raw {
    Frame {
        seq: Seq,
        bytes: Vec<u8>,
    },
    Damage {
        first: Seq,
        last: Option<Seq>,
        why: &'static str,
    },
}

enum Step {
    Frame { seq: Seq, bytes: Vec<u8> },
    Skipped,
    Damaged,
    End,
}

impl Segment {
    fn frame(&mut self) -> Result<Step, Error> {
        loop {
            match format::parse(&self.buffer[self.at..]) {
                Found::Frame {
                    seq,
                    payload,
                    bytes,
                } => {
                    let payload = payload.to_vec();
                    self.at += bytes;
                    return Ok(Step::Frame {
                        seq,
                        bytes: payload,
                    });
                }
                Found::Incomplete { bytes } => {
                    if !self.fill(bytes)? {
                        return self.unfinished();
                    }
                }
                Found::Damaged => {
                    return Ok(if self.resynchronise()? {
                        Step::Skipped
                    } else {
                        Step::Damaged
                    });
                }
            }
        }
    }

    /// Bytes that promise more than the file has: a frame that is still being
    /// written, unless one stands behind them.
    fn unfinished(&mut self) -> Result<Step, Error> {
        let nothing = self.at == self.buffer.len();
        Ok(if !nothing && self.resynchronise()? {
            Step::Skipped
        } else {
            Step::End
        })
    }

    /// Reads on until `wanted` bytes are there from the position; false at the end of the file.
    fn fill(&mut self, wanted: usize) -> Result<bool, Error> {
        self.buffer.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        let have = self.buffer.len();
        let room = CHUNK.max(wanted.min(FRAME_BYTES + MAX_PAYLOAD) - have.min(wanted));
        self.buffer.resize(have + room, 0);
        let read = self
            .file
            .read_at(&mut self.buffer[have..], self.offset + have as u64)
            .map_err(io("read", &self.path))?;
        self.buffer.truncate(have + read);
        Ok(read > 0)
    }

    /// Goes on to the next byte at which a frame stands; stays where it is when there is none.
    fn resynchronise(&mut self) -> Result<bool, Error> {
        let here = self.offset + self.at as u64;
        self.at += 1;
        while self.at <= self.buffer.len() {
            match format::parse(&self.buffer[self.at..]) {
                Found::Frame { .. } => return Ok(true),
                Found::Damaged => self.at += 1,
                Found::Incomplete { bytes } => {
                    if !self.fill(bytes)? {
                        self.at += 1;
                    }
                }
            }
        }
        self.offset = here;
        self.buffer.clear();
        self.at = 0;
        Ok(false)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{Options, Spool};
    use super::*;

    fn record(text: &str) -> proto::Record {
        let event = proto::StreamEvent {
            event: text.to_owned(),
            ..Default::default()
        };
        proto::Record {
            body: Some(proto::record::Body::StreamEvent(event)),
            ..Default::default()
        }
    }

    fn spool_of(directory: &Path, records: usize) -> (StreamId, PathBuf) {
        let mut spool = Spool::open(
            directory,
            Options {
                segment_bytes: 2000,
            },
        )
        .unwrap();
        for number in 0..records {
            spool.append(record(&format!("event {number}"))).unwrap();
            spool.flush().unwrap();
        }
        spool.sync().unwrap();
        (spool.stream_id(), spool.dir().to_owned())
    }

    fn numbers(directory: &Path, stream: StreamId) -> (Vec<u64>, Vec<(u64, Option<u64>)>) {
        let mut cursor = Store::open(directory).unwrap().cursor(stream).unwrap();
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        while let Some(item) = cursor.next().unwrap() {
            match item {
                Item::Record { seq, .. } => good.push(seq.0),
                Item::Damage { first, last, .. } => {
                    bad.push((first.0, last.map(|last| last.0)));
                    if last.is_none() {
                        break;
                    }
                }
            }
        }
        (good, bad)
    }

    #[test]
    fn numbers_are_dense_over_segments_and_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let (stream, _) = spool_of(dir.path(), 100);
        let (again, _) = spool_of(dir.path(), 20);
        assert_eq!(stream, again);
        assert_eq!(numbers(dir.path(), stream), ((1..=120).collect(), vec![]));
    }

    #[test]
    fn a_torn_tail_is_cut_at_the_last_good_frame() {
        let dir = tempfile::tempdir().unwrap();
        let (stream, folder) = spool_of(dir.path(), 5);
        let path = folder.join("00000000000000000001.seg");
        let whole = fs::read(&path).unwrap();
        let last_three = {
            let mut at = HEADER_BYTES;
            let mut starts = Vec::new();
            while let Found::Frame { bytes, .. } = format::parse(&whole[at..]) {
                starts.push(at);
                at += bytes;
            }
            starts[2]
        };
        for length in last_three..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let (good, _) = numbers(dir.path(), stream);
            assert_eq!(good, (1..=good.len() as u64).collect::<Vec<_>>());
            assert!((2..5).contains(&good.len()), "{good:?} of {length} bytes");
            let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
            assert_eq!(
                spool.append(record("next")).unwrap(),
                Seq(good.len() as u64 + 1)
            );
            spool.sync().unwrap();
            drop(spool);
            let (after, damage) = numbers(dir.path(), stream);
            assert_eq!((after.len(), damage), (good.len() + 1, vec![]));
        }
    }

    #[test]
    fn a_flipped_bit_costs_one_record_and_says_which() {
        let dir = tempfile::tempdir().unwrap();
        let (stream, folder) = spool_of(dir.path(), 8);
        let path = folder.join("00000000000000000001.seg");
        let whole = fs::read(&path).unwrap();
        let Found::Frame { bytes, .. } = format::parse(&whole[HEADER_BYTES..]) else {
            panic!("no frame")
        };
        for at in HEADER_BYTES + bytes..HEADER_BYTES + 2 * bytes {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, &damaged).unwrap();
            assert_eq!(
                numbers(dir.path(), stream),
                (vec![1, 3, 4, 5, 6, 7, 8], vec![(2, Some(2))]),
                "byte {at}"
            );
        }
    }

    #[test]
    fn two_writers_never_share_a_stream() {
        let dir = tempfile::tempdir().unwrap();
        let first = Spool::open(dir.path(), Options::default()).unwrap();
        let second = Spool::open(dir.path(), Options::default()).unwrap();
        assert_ne!(first.stream_id(), second.stream_id());
    }

    #[test]
    fn a_cursor_goes_on_when_more_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), Options { segment_bytes: 300 }).unwrap();
        let mut cursor = Store::open(dir.path())
            .unwrap()
            .cursor(spool.stream_id())
            .unwrap();
        for number in 1..20 {
            assert!(cursor.next().unwrap().is_none());
            spool.append(record("x")).unwrap();
            spool.flush().unwrap();
            assert!(
                matches!(cursor.next().unwrap(), Some(Item::Record { seq: Seq(n), .. }) if n == number)
            );
        }
        cursor.seek(Seq(7)).unwrap();
        assert!(matches!(
            cursor.next().unwrap(),
            Some(Item::Record { seq: Seq(7), .. })
        ));
    }
}
