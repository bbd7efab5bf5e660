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

/// One stream, open for appending.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    stream: StreamId,
    chain: Chain,
    segment: File,
    segment_path: PathBuf,
    segment_length: u64,
    buffer: Vec<u8>,
    options: Options,
    /// Held as long as the spool is open; the kernel lets go of it however the process ends.
    _lock: File,
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
            if let Some(spool) = Self::continue_stream(directory, stream, options)? {
                return Ok(spool);
            }
        }
        Self::begin_stream(directory, options)
    }

    fn begin_stream(directory: &Path, options: Options) -> Result<Self, Error> {
        let stream = StreamId::generate();
        let directory = directory.join(stream.to_string());
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(io("create", &directory))?;
        sync_directory(directory.parent().unwrap_or(&directory))?;
        let Some(lock) = try_lock(&directory)? else {
            return Err(Error::Unsafe {
                path: directory,
                why: "is used by somebody else at its first moment",
            });
        };
        let (segment, segment_path) = create_segment(&directory, stream, Seq(1))?;
        Ok(Self {
            directory,
            stream,
            chain: Chain::start(stream),
            segment,
            segment_path,
            segment_length: format::HEADER_BYTES as u64,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            options,
            _lock: lock,
        })
    }

    /// `None` when somebody writes it, or when its last segment cannot be continued.
    fn continue_stream(
        directory: &Path,
        stream: StreamId,
        options: Options,
    ) -> Result<Option<Self>, Error> {
        let store = Store::open(directory)?;
        let directory = directory.join(stream.to_string());
        let Some(lock) = try_lock(&directory)? else {
            return Ok(None);
        };
        let mut cursor = store.cursor(stream)?;
        let mut chain = Chain::start(stream);
        while let Some(item) = cursor.next()? {
            // A stream with damage inside is evidence: it is left as it is.
            let Item::Record { bytes, seq, .. } = item else {
                return Ok(None);
            };
            if !chain.verify(seq, &bytes) {
                return Ok(None);
            }
        }
        let Some((segment_path, good)) = cursor.position() else {
            return Ok(None);
        };
        let segment = OpenOptions::new()
            .append(true)
            .open(&segment_path)
            .map_err(io("open", &segment_path))?;
        segment
            .set_len(good)
            .map_err(io("cut the torn tail of", &segment_path))?;
        Ok(Some(Self {
            directory,
            stream,
            chain,
            segment,
            segment_path,
            segment_length: good,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            options,
            _lock: lock,
        }))
    }

    /// The stream's id.
    pub fn stream_id(&self) -> StreamId {
        self.stream
    }

    /// The stream's folder.
    pub fn dir(&self) -> &Path {
        &self.directory
    }

    /// The last number that was given.
    pub fn last_seq(&self) -> Seq {
        self.chain.seq()
    }

    /// Numbers, chains and keeps a record; durable after [`Spool::sync`].
    ///
    /// # Errors
    ///
    /// The buffer was full and could not be written.
    pub fn append(&mut self, record: proto::Record) -> Result<Seq, Error> {
        let at = self.buffer.len();
        self.buffer.resize(at + FRAME_BYTES, 0);
        let seq = self.chain.append(record, &mut self.buffer);
        let payload = at + FRAME_BYTES;
        debug_assert!(self.buffer.len() - payload <= MAX_PAYLOAD);
        let frame = format::frame(seq, &self.buffer[payload..]);
        self.buffer[at..payload].copy_from_slice(&frame);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(seq)
    }

    /// Writes what waits, so that readers see it.
    ///
    /// # Errors
    ///
    /// write(2) fails; what waits is kept for the next try.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.segment
            .write_all(&self.buffer)
            .map_err(io("write", &self.segment_path))?;
        self.segment_length += self.buffer.len() as u64;
        self.buffer.clear();
        if self.segment_length >= self.options.segment_bytes {
            self.seal()?;
        }
        Ok(())
    }

    /// Makes everything durable. The last number.
    ///
    /// # Errors
    ///
    /// Writing or syncing fails.
    pub fn sync(&mut self) -> Result<Seq, Error> {
        self.flush()?;
        self.segment
            .sync_data()
            .map_err(io("sync", &self.segment_path))?;
        write_head(&self.directory, &self.chain)?;
        Ok(self.chain.seq())
    }

    fn seal(&mut self) -> Result<(), Error> {
        self.segment
            .sync_all()
            .map_err(io("sync", &self.segment_path))?;
        let (segment, path) =
            create_segment(&self.directory, self.stream, self.chain.seq().next())?;
        (self.segment, self.segment_path) = (segment, path);
        self.segment_length = format::HEADER_BYTES as u64;
        Ok(())
    }
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
