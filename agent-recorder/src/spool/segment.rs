//! Reads one segment: frame by frame, past damage.
//!
//! No length in a damaged file causes an allocation, and the search for the next
//! frame after damage is bounded.

use std::path::{Path, PathBuf};

use super::Error;
use super::disk::{Disk, Handle, read_up_to};
use super::error::io;
use super::format::{self, FRAME_BYTES, Found, HEADER_BYTES, MAX_PAYLOAD, SegmentHeader};
use super::names::Key;
use crate::record::{Seq, StreamId};

/// Bytes of one read.
const CHUNK: usize = 256 << 10;
/// After damage a frame is believed when its number is at most this much larger: more
/// frames than the largest segment has.
const WINDOW: u64 = 1 << 23;
/// Most bytes of failed checksums after one segment's damage. The limit is needed
/// because a session can put bytes that look like frames into its records.
const TRIES_BYTES: usize = 256 << 20;

/// One segment, open for reading.
#[derive(Debug)]
pub(super) struct Segment {
    file: Box<dyn Handle>,
    path: PathBuf,
    pub(super) key: Key,
    /// The smallest possible number of the next frame.
    next: Seq,
    /// Offset in the file of `buffer[0]`.
    offset: u64,
    buffer: Vec<u8>,
    at: usize,
    /// Offset after the last good frame.
    pub(super) good_end: u64,
    tries_left: usize,
    /// Length of the file at which no further frame was found.
    hopeless_at: Option<u64>,
    /// The flaw of its header.
    pub(super) flaw: Option<&'static str>,
}

/// The next item of a segment.
#[derive(Debug)]
pub(super) enum Step {
    Frame {
        seq: Seq,
        bytes: Vec<u8>,
    },
    /// A good frame whose number was read before.
    Stray {
        seq: Seq,
    },
    /// No good frame follows.
    End {
        /// Whether there are bytes that are no frame.
        torn: bool,
    },
}

impl Segment {
    /// Opens a segment; `None` when it is missing or empty.
    pub(super) fn open(
        disk: &dyn Disk,
        directory: &Path,
        stream: StreamId,
        key: Key,
    ) -> Result<Option<Self>, Error> {
        let path = directory.join(key.name());
        let file = match disk.open_to_read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(io("open", &path))?,
        };
        let mut header = [0; HEADER_BYTES];
        let have = read_up_to(&*file, &mut header, 0).map_err(io("read the header of", &path))?;
        // A segment that was begun and never written replaces no frames. After a
        // power loss it can reappear although it was removed.
        let length = file.length().map_err(io("look at", &path))?;
        if have < HEADER_BYTES || length == Some(HEADER_BYTES as u64) {
            return Ok(None);
        }
        let flaw = match SegmentHeader::decode(&header) {
            Err(why) => Some(why),
            Ok(found) if found.stream != stream || found.first != key.first => {
                Some("its header is that of another place")
            }
            Ok(_) => None,
        };
        Ok(Some(Self {
            file,
            path,
            key,
            next: key.first,
            offset: HEADER_BYTES as u64,
            buffer: Vec::new(),
            at: 0,
            good_end: HEADER_BYTES as u64,
            tries_left: TRIES_BYTES,
            hopeless_at: None,
            flaw,
        }))
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next frame below `ceiling`, where the next segment begins.
    pub(super) fn step(&mut self, ceiling: Option<Seq>) -> Result<Step, Error> {
        loop {
            match format::parse(&self.buffer[self.at..]) {
                Found::Frame { seq, .. } if ceiling.is_some_and(|ceiling| seq >= ceiling) => {
                    return Ok(Step::End { torn: false });
                }
                // The largest number has no successor.
                Found::Frame {
                    seq: Seq(u64::MAX), ..
                } => {
                    if !self.resynchronise(ceiling)? {
                        return Ok(Step::End { torn: true });
                    }
                }
                Found::Frame {
                    seq,
                    payload,
                    bytes,
                } => {
                    let payload = payload.to_vec();
                    self.at += bytes;
                    self.good_end = self.offset + self.at as u64;
                    if seq < self.next {
                        return Ok(Step::Stray { seq });
                    }
                    self.next = seq.next();
                    return Ok(Step::Frame {
                        seq,
                        bytes: payload,
                    });
                }
                Found::Incomplete { bytes } => {
                    if self.fill(bytes)? {
                        continue;
                    }
                    if self.at == self.buffer.len() {
                        return Ok(Step::End { torn: false });
                    }
                    // A frame that is still being written, unless another follows it.
                    if !self.resynchronise(ceiling)? {
                        return Ok(Step::End { torn: false });
                    }
                }
                Found::Damaged => {
                    if !self.resynchronise(ceiling)? {
                        return Ok(Step::End { torn: true });
                    }
                }
            }
        }
    }

    /// Steps back to the frame that was read last.
    pub(super) fn back(&mut self, seq: Seq, payload: &[u8]) {
        self.at -= FRAME_BYTES + payload.len();
        self.next = seq;
    }

    /// Reads until there are `wanted` bytes from the position, if the file has them;
    /// false at the end of the file.
    fn fill(&mut self, wanted: usize) -> Result<bool, Error> {
        self.buffer.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        let have = self.buffer.len();
        let room = CHUNK.max(wanted.min(FRAME_BYTES + MAX_PAYLOAD).saturating_sub(have));
        self.buffer.resize(have + room, 0);
        let read = read_up_to(
            &*self.file,
            &mut self.buffer[have..],
            self.offset + have as u64,
        )
        .map_err(io("read", &self.path))?;
        self.buffer.truncate(have + read);
        Ok(read > 0)
    }

    /// Advances to the next byte at which a frame begins; without one the position
    /// stays.
    fn resynchronise(&mut self, ceiling: Option<Seq>) -> Result<bool, Error> {
        let here = self.offset + self.at as u64;
        let length = self.file.length().map_err(io("look at", &self.path))?;
        if length.is_some() && length == self.hopeless_at {
            return Ok(false);
        }
        self.at += 1;
        while self.tries_left > 0 {
            let rest = &self.buffer[self.at.min(self.buffer.len())..];
            if rest.len() < FRAME_BYTES {
                if self.fill(FRAME_BYTES)? {
                    continue;
                }
                break;
            }
            let plausible = format::claim(rest).filter(|(_, seq)| {
                let near = self.next.0..self.next.0.saturating_add(WINDOW);
                near.contains(&seq.0) && ceiling.is_none_or(|ceiling| *seq < ceiling)
            });
            if let Some((payload, _)) = plausible {
                let wanted = match format::parse(rest) {
                    Found::Frame { .. } => return Ok(true),
                    Found::Incomplete { bytes } => Some(bytes),
                    Found::Damaged => None,
                };
                if let Some(bytes) = wanted
                    && self.fill(bytes)?
                {
                    continue;
                }
                // The frame would end after the file, or its checksum is wrong.
                self.tries_left = self.tries_left.saturating_sub(payload);
            }
            self.at += 1;
        }
        self.hopeless_at = length;
        self.offset = here;
        self.buffer.clear();
        self.at = 0;
        Ok(false)
    }
}
