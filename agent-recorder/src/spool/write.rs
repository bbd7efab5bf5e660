//! The writer of one stream.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use super::Error;
use super::error::io;
use super::format::{self, FRAME_BYTES, MAX_PAYLOAD, SegmentHeader};
use super::read::{self, Item, Store};
use crate::record::chain::Chain;
use crate::record::{Seq, StreamId, proto};

/// How to keep a stream.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment is sealed when it has grown beyond this, bytes.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
        }
    }
}

/// Records wait in memory up to this, bytes: one write(2) for some hundreds of them.
const BUFFER_BYTES: usize = 256 << 10;

/// The segments of one stream, open for appending.
#[derive(Debug)]
struct Segments {
    directory: PathBuf,
    stream: StreamId,
    chain: Chain,
    segment: File,
    path: PathBuf,
    length: u64,
    buffer: Vec<u8>,
    options: Options,
    /// Held as long as the stream is open; the kernel lets go of it however the process ends.
    _lock: File,
}

impl Segments {
    fn begin(
        directory: PathBuf,
        stream: StreamId,
        chain: Chain,
        options: Options,
        lock: File,
    ) -> Result<Self, Error> {
        let (segment, path) = create_segment(&directory, stream, chain.seq().next())?;
        Ok(Self {
            directory,
            stream,
            chain,
            segment,
            path,
            length: format::HEADER_BYTES as u64,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            options,
            _lock: lock,
        })
    }

    /// Goes on behind the last good frame. With `strict`, `None` where something is wrong before it.
    fn resume(
        directory: PathBuf,
        stream: StreamId,
        options: Options,
        lock: File,
        strict: bool,
    ) -> Result<Option<Self>, Error> {
        let Some(parent) = directory.parent() else {
            return Ok(None);
        };
        let mut cursor = Store::open(parent)?.cursor(stream)?;
        let mut chain = Chain::start(stream);
        while let Some(item) = cursor.next()? {
            let intact = match item {
                Item::Record { seq, bytes, .. } => chain.verify(seq, &bytes),
                Item::Damage { last: None, .. } => break,
                Item::Damage { .. } => false,
            };
            // A stream with damage inside is evidence: it is left as it is.
            if strict && !intact {
                return Ok(None);
            }
        }
        let Some((path, good)) = cursor.position() else {
            return Ok(None);
        };
        let segment = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(io("open", &path))?;
        segment
            .set_len(good)
            .map_err(io("cut the torn tail of", &path))?;
        Ok(Some(Self {
            directory,
            stream,
            chain,
            segment,
            path,
            length: good,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            options,
            _lock: lock,
        }))
    }

    /// Frames what `write` appends to the buffer; it gives the number.
    fn push(&mut self, write: impl FnOnce(&mut Chain, &mut Vec<u8>) -> Seq) -> Result<Seq, Error> {
        let at = self.buffer.len();
        self.buffer.resize(at + FRAME_BYTES, 0);
        let seq = write(&mut self.chain, &mut self.buffer);
        let payload = at + FRAME_BYTES;
        debug_assert!(self.buffer.len() - payload <= MAX_PAYLOAD);
        let frame = format::frame(seq, &self.buffer[payload..]);
        self.buffer[at..payload].copy_from_slice(&frame);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(seq)
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.segment
            .write_all(&self.buffer)
            .map_err(io("write", &self.path))?;
        self.length += self.buffer.len() as u64;
        self.buffer.clear();
        if self.length >= self.options.segment_bytes {
            self.segment.sync_all().map_err(io("sync", &self.path))?;
            (self.segment, self.path) =
                create_segment(&self.directory, self.stream, self.chain.seq().next())?;
            self.length = format::HEADER_BYTES as u64;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<Seq, Error> {
        self.flush()?;
        self.segment.sync_data().map_err(io("sync", &self.path))?;
        write_head(&self.directory, &self.chain)?;
        Ok(self.chain.seq())
    }
}

/// The stream that this host's recorder writes.
#[derive(Debug)]
pub struct Spool {
    segments: Segments,
}

impl Spool {
    /// Continues the newest stream under `directory` that nobody writes, or begins one.
    ///
    /// # Errors
    ///
    /// The directory is not safe, cannot be made, or a stream cannot be opened.
    pub fn open(directory: &Path, options: Options) -> Result<Self, Error> {
        prepare_directory(directory)?;
        let mut streams = read::stream_ids(directory)?;
        streams.sort_unstable();
        for stream in streams.into_iter().rev() {
            let folder = directory.join(stream.to_string());
            let Some(lock) = try_lock(&folder)? else {
                continue;
            };
            if let Some(segments) = Segments::resume(folder, stream, options, lock, true)? {
                return Ok(Self { segments });
            }
        }
        let stream = StreamId::generate();
        let folder = create_stream(directory, stream)?;
        let Some(lock) = try_lock(&folder)? else {
            return Err(Error::Unsafe {
                path: folder,
                why: "is used by somebody else at its first moment",
            });
        };
        let segments = Segments::begin(folder, stream, Chain::start(stream), options, lock)?;
        Ok(Self { segments })
    }

    /// The stream's id.
    pub fn stream_id(&self) -> StreamId {
        self.segments.stream
    }

    /// The stream's folder.
    pub fn dir(&self) -> &Path {
        &self.segments.directory
    }

    /// The last number that was given.
    pub fn last_seq(&self) -> Seq {
        self.segments.chain.seq()
    }

    /// Numbers, chains and keeps a record; durable after [`Spool::sync`].
    ///
    /// # Errors
    ///
    /// The buffer was full and could not be written.
    pub fn append(&mut self, record: proto::Record) -> Result<Seq, Error> {
        self.segments
            .push(|chain, buffer| chain.append(record, buffer))
    }

    /// Writes what waits, so that readers see it.
    ///
    /// # Errors
    ///
    /// write(2) fails; what waits is kept for the next try.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.segments.flush()
    }

    /// Makes everything durable. The last number.
    ///
    /// # Errors
    ///
    /// Writing or syncing fails.
    pub fn sync(&mut self) -> Result<Seq, Error> {
        self.segments.sync()
    }
}

/// A collector's copy of one stream, byte for byte.
#[derive(Debug)]
pub struct Replica {
    segments: Segments,
}

/// What became of a record that was handed to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It continues the stream.
    New,
    /// It was there.
    Duplicate,
    /// It was kept, and numbers before it are missing for good.
    AfterGap,
    /// It does not continue the chain, and was not kept.
    Broken,
}

impl Replica {
    /// Opens or begins the copy of a stream under `directory`.
    ///
    /// # Errors
    ///
    /// It cannot be made, or somebody else writes it.
    pub fn open(directory: &Path, stream: StreamId, options: Options) -> Result<Self, Error> {
        prepare_directory(directory)?;
        let folder = directory.join(stream.to_string());
        if !folder.is_dir() {
            create_stream(directory, stream)?;
        }
        let Some(lock) = try_lock(&folder)? else {
            return Err(Error::Unsafe {
                path: folder,
                why: "is being written by another connection",
            });
        };
        let resumed = Segments::resume(folder.clone(), stream, options, lock, false)?;
        let segments = match resumed {
            Some(segments) => segments,
            None => {
                let Some(lock) = try_lock(&folder)? else {
                    return Err(Error::Unsafe {
                        path: folder,
                        why: "is being written by another connection",
                    });
                };
                Segments::begin(folder, stream, Chain::start(stream), options, lock)?
            }
        };
        Ok(Self { segments })
    }

    /// The last number that is held.
    pub fn last_seq(&self) -> Seq {
        self.segments.chain.seq()
    }

    /// Keeps a record as it was stored elsewhere; durable after [`Replica::sync`].
    ///
    /// # Errors
    ///
    /// The buffer was full and could not be written.
    pub fn append(&mut self, seq: Seq, stored: &[u8]) -> Result<Kept, Error> {
        let last = self.last_seq();
        if seq <= last {
            return Ok(Kept::Duplicate);
        }
        let mut chain = self.segments.chain;
        let continues = chain.verify(seq, stored);
        if !continues && (seq == last.next() || stored.len() > MAX_PAYLOAD) {
            return Ok(Kept::Broken);
        }
        self.segments.push(|current, buffer| {
            *current = chain;
            buffer.extend_from_slice(stored);
            seq
        })?;
        Ok(if continues { Kept::New } else { Kept::AfterGap })
    }

    /// Makes everything durable. The last number.
    ///
    /// # Errors
    ///
    /// Writing or syncing fails.
    pub fn sync(&mut self) -> Result<Seq, Error> {
        self.segments.sync()
    }
}

fn create_stream(directory: &Path, stream: StreamId) -> Result<PathBuf, Error> {
    let folder = directory.join(stream.to_string());
    DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(io("create", &folder))?;
    sync_directory(directory)?;
    Ok(folder)
}

fn create_segment(
    directory: &Path,
    stream: StreamId,
    first: Seq,
) -> Result<(File, PathBuf), Error> {
    let path = directory.join(format!("{:020}.seg", first.0));
    let mut file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(io("create", &path))?;
    file.write_all(&SegmentHeader { stream, first }.encode())
        .map_err(io("write", &path))?;
    file.sync_all().map_err(io("sync", &path))?;
    sync_directory(directory)?;
    Ok((file, path))
}

/// How far the stream is durable: number, chain value, CRC32C. Written in place, for a torn one is told by its checksum.
fn write_head(directory: &Path, chain: &Chain) -> Result<(), Error> {
    let path = directory.join(read::HEAD);
    let mut bytes = chain.seq().0.to_le_bytes().to_vec();
    bytes.extend_from_slice(&chain.value());
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(io("open", &path))?;
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).map_err(io("write", &path))?;
    file.sync_data().map_err(io("sync", &path))
}

/// Makes the directory, readable by its owner only, and refuses one that others could change.
fn prepare_directory(directory: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io("create", directory))?;
    let about = fs::symlink_metadata(directory).map_err(io("look at", directory))?;
    let refuse = |why| {
        Err(Error::Unsafe {
            path: directory.to_owned(),
            why,
        })
    };
    if about.is_symlink() {
        return refuse("is a symbolic link");
    }
    if about.uid() != rustix::process::geteuid().as_raw() {
        return refuse("belongs to another user");
    }
    if about.mode() & 0o022 != 0 {
        return refuse("can be written by others");
    }
    Ok(())
}

fn try_lock(directory: &Path) -> Result<Option<File>, Error> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(io("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(io("lock", &path)(errno.into())),
    }
}

fn sync_directory(directory: &Path) -> Result<(), Error> {
    let handle = File::open(directory).map_err(io("open", directory))?;
    handle.sync_all().map_err(io("sync", directory))
}
