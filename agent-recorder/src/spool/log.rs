//! The segments of one stream, open for appending.
//!
//! Frames stay in memory until they are synced. After a failed sync the kernel may
//! treat pages as clean that never reached the disk (fsync(2), ERRORS), so that
//! segment is never written again: its unsynced frames are written anew, into a
//! segment that begins there. That segment gets its name once these frames are synced,
//! because until then a power loss can leave some of them in the earlier one only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::directory::Lock;
use super::disk::{Disk, Handle, write_on};
use super::error::io;
use super::format::{self, FRAME_BYTES, HEADER_BYTES, MAX_PAYLOAD, SegmentHeader};
use super::names::{self, Key};
use super::position::{FREED, HEAD, Position};
use super::{Error, Options};
use crate::fault;
use crate::record::chain::Chain;
use crate::record::{Seq, StreamId};

/// Bytes of frames that wait in memory before they are written: one write(2) for some
/// hundreds of frames.
const BUFFER_BYTES: usize = 256 << 10;

/// The segments of one stream.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
    pub(super) stream: StreamId,
    pub(super) chain: Chain,
    /// The last number that is synced, and noted in the head.
    pub(super) durable: Seq,
    segment: Option<Open>,
    waiting: Waiting,
    head: Position,
    head_due: bool,
    pub(super) freed: Position,
    /// The change of another process to the open segment.
    pub(super) altered: Option<String>,
    pub(super) options: Options,
    /// The lock as long as the stream is open. The kernel releases it however the
    /// process ends.
    _lock: Option<Lock>,
}

/// Frames that are not synced.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) bytes: Vec<u8>,
    /// The number of the first frame.
    pub(super) first: Seq,
    /// Bytes of the frames that the segment has.
    pub(super) written: usize,
    /// Whether an earlier segment has some of the frames, perhaps as their only copy.
    anew: bool,
}

/// The open segment.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: Box<dyn Handle>,
    pub(super) path: PathBuf,
    /// Bytes that are synced.
    pub(super) synced: u64,
    pub(super) begun: Instant,
}

/// The initial state of a log.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) chain: Chain,
    pub(super) durable: Seq,
    pub(super) segment: Option<Open>,
    /// Frames to write anew, and the number of the first.
    pub(super) waiting: Option<(Seq, Vec<u8>)>,
}

impl Log {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        directory: PathBuf,
        stream: StreamId,
        options: Options,
        lock: Option<Lock>,
        start: Start,
    ) -> Result<Self, Error> {
        let beginning = Chain::start(stream);
        let head = Position::open(&*disk, &directory, HEAD, &beginning)?;
        let freed = Position::open(&*disk, &directory, FREED, &beginning)?;
        let anew = start.waiting.is_some();
        let (first, bytes) = start
            .waiting
            .unwrap_or_else(|| (start.chain.seq().next(), Vec::with_capacity(BUFFER_BYTES)));
        Ok(Self {
            disk,
            directory,
            stream,
            // The readable head may be in the kernel's memory only.
            head_due: true,
            chain: start.chain,
            durable: start.durable,
            segment: start.segment,
            waiting: Waiting {
                bytes,
                first,
                written: 0,
                anew,
            },
            head,
            freed,
            altered: None,
            options,
            _lock: lock,
        })
    }

    /// Bytes of frames that are not synced.
    pub(super) fn held(&self) -> usize {
        self.waiting.bytes.len()
    }

    /// Whether enough frames wait for a write.
    pub(super) fn is_due(&self) -> bool {
        self.waiting.bytes.len() - self.waiting.written >= BUFFER_BYTES
    }

    /// Frames the bytes that `write` appends; `write` returns their number. `None`,
    /// and no change, when they are larger than a frame.
    pub(super) fn push(
        &mut self,
        write: impl FnOnce(&mut Chain, &mut Vec<u8>) -> Seq,
    ) -> Option<Seq> {
        let before = self.chain;
        let bytes = &mut self.waiting.bytes;
        let at = bytes.len();
        let payload = at + FRAME_BYTES;
        bytes.resize(payload, 0);
        let seq = write(&mut self.chain, bytes);
        if bytes.len() - payload > MAX_PAYLOAD {
            bytes.truncate(at);
            self.chain = before;
            return None;
        }
        let frame = format::frame(seq, &bytes[payload..]);
        bytes[at..payload].copy_from_slice(&frame);
        if at == 0 {
            self.waiting.first = seq;
        }
        fault::point(fault::FRAME_NUMBERED);
        Some(seq)
    }

    /// Writes the waiting frames, so that readers see them.
    pub(super) fn flush(&mut self) -> Result<(), Error> {
        let Waiting { bytes, written, .. } = &self.waiting;
        if *written == bytes.len() {
            return Ok(());
        }
        let open = match &self.segment {
            Some(open) => open,
            None => {
                let open = self.begin()?;
                self.segment.insert(open)
            }
        };
        let Waiting { bytes, written, .. } = &mut self.waiting;
        write_on(&*open.file, bytes, open.synced, written).map_err(io("write", &open.path))?;
        fault::point(fault::FRAMES_WRITTEN);
        Ok(())
    }

    /// Makes all frames durable. Returns the last number.
    pub(super) fn sync(&mut self) -> Result<Seq, Error> {
        self.look_at_segment()?;
        self.flush()?;
        if let Some(open) = self.segment.as_mut().filter(|_| self.waiting.written > 0) {
            if let Err(error) = open.file.sync() {
                let failed = io("sync", &open.path)(error);
                self.abandon();
                return Err(failed);
            }
            open.synced += self.waiting.written as u64;
            self.waiting.bytes.clear();
            self.waiting.written = 0;
            self.head_due = true;
            fault::point(fault::FRAMES_SYNCED);
        }
        if self.head_due {
            self.head.set(&self.chain)?;
            self.head_due = false;
            self.durable = self.chain.seq();
            fault::point(fault::HEAD_MOVED);
        }
        if let Some(open) = &self.segment {
            let full = open.synced >= self.options.segment_bytes;
            if full || open.begun.elapsed() >= self.options.segment_age {
                self.segment = None;
                fault::point(fault::SEGMENT_SEALED);
            }
        }
        Ok(self.durable)
    }

    /// Whether this is the open segment.
    pub(super) fn writes(&self, path: &Path) -> bool {
        self.segment.as_ref().is_some_and(|open| open.path == path)
    }

    /// Checks the open segment. After another process removed, cut or changed it, it
    /// is never written again, and its unsynced frames go into the next one.
    fn look_at_segment(&mut self) -> Result<(), Error> {
        let Some(open) = &self.segment else {
            return Ok(());
        };
        let expected = open.synced + self.waiting.written as u64;
        let found = open.file.length().map_err(io("look at", &open.path))?;
        let what = match found {
            Some(length) if length == expected => return Ok(()),
            Some(length) => format!("has {length} bytes in place of {expected}"),
            None => "was removed".to_owned(),
        };
        self.altered = Some(format!("{} {what}", open.path.display()));
        self.waiting.anew |= self.waiting.written > 0;
        self.waiting.written = 0;
        self.segment = None;
        Ok(())
    }

    /// Never writes the open segment again. Its unsynced frames wait for the next
    /// one.
    fn abandon(&mut self) {
        self.waiting.anew |= self.waiting.written > 0;
        self.waiting.written = 0;
        let Some(open) = self.segment.take() else {
            return;
        };
        if open.synced == HEADER_BYTES as u64 {
            // The segment has no synced frame. If it stays, the next one replaces it
            // all the same.
            let _ = self.disk.remove(&open.path);
        }
    }

    /// Begins the segment of the first waiting frame, after earlier ones of the same
    /// number.
    fn begin(&mut self) -> Result<Open, Error> {
        let first = self.waiting.first;
        let keys = names::segments(&*self.disk, &self.directory)?;
        let before = keys.iter().rfind(|key| key.first == first);
        let key = Key {
            first,
            attempt: before.map_or(0, |key| key.attempt.saturating_add(1)),
        };
        let path = self.directory.join(key.name());
        let begun = if self.waiting.anew {
            self.begin_anew(&path, &self.directory.join(key.unfinished()))
        } else {
            self.begin_empty(&path)
        };
        let (file, written) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // A segment without frames that stays replaces no other, and one that
                // has its name has every frame.
                let _ = self.disk.remove(&path);
                return Err(error);
            }
        };
        self.waiting.anew = false;
        self.waiting.written = written;
        fault::point(fault::SEGMENT_BEGUN);
        Ok(Open {
            file,
            path,
            synced: HEADER_BYTES as u64,
            begun: Instant::now(),
        })
    }

    fn begin_empty(&self, path: &Path) -> Result<(Box<dyn Handle>, usize), Error> {
        let file = self.create(path)?;
        file.sync().map_err(io("sync", path))?;
        self.sync_names()?;
        Ok((file, 0))
    }

    /// Begins a segment with all waiting frames, which are durable before it has the name
    /// `path` by which it replaces an earlier one. Returns their bytes, too.
    fn begin_anew(
        &self,
        path: &Path,
        unfinished: &Path,
    ) -> Result<(Box<dyn Handle>, usize), Error> {
        // One of an earlier attempt.
        let _ = self.disk.remove(unfinished);
        let finish = || {
            let file = self.create(unfinished)?;
            let mut written = 0;
            write_on(
                &*file,
                &self.waiting.bytes,
                HEADER_BYTES as u64,
                &mut written,
            )
            .and_then(|()| file.sync())
            .map_err(io("write", unfinished))?;
            fault::point(fault::FRAMES_WRITTEN);
            self.disk
                .rename(unfinished, path)
                .map_err(io("name", path))?;
            self.sync_names()?;
            Ok((file, written))
        };
        finish().inspect_err(|_| {
            // If it stays, the next start removes it.
            let _ = self.disk.remove(unfinished);
        })
    }

    /// Creates a segment with its header, which is not synced.
    fn create(&self, path: &Path) -> Result<Box<dyn Handle>, Error> {
        let file = self.disk.create(path).map_err(io("create", path))?;
        fault::point(fault::SEGMENT_CREATED);
        let header = SegmentHeader {
            stream: self.stream,
            first: self.waiting.first,
        };
        write_on(&*file, &header.encode(), 0, &mut 0).map_err(io("write", path))?;
        Ok(file)
    }

    fn sync_names(&self) -> Result<(), Error> {
        let synced = self.disk.sync_directory(&self.directory);
        synced.map_err(io("sync", &self.directory))
    }
}
