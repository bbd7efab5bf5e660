//! A collector's copy of one stream, byte for byte.

use std::path::Path;
use std::sync::Arc;

use super::disk::Host;
use super::format::MAX_PAYLOAD;
use super::log::Log;
use super::resume::{Role, resume};
use super::{Error, HELD_BYTES, Options, directory};
use crate::record::{Seq, StreamId};

/// A collector's copy of one stream.
#[derive(Debug)]
pub struct Replica {
    log: Log,
}

/// The result of appending a record to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The record continues the stream.
    New,
    /// The record is stored already.
    Duplicate,
    /// The record was stored, and numbers before it are missing for good.
    AfterGap,
    /// The record does not continue the chain, and was not stored.
    Broken,
}

impl Replica {
    /// Opens or begins the copy of a stream under `directory`. Its present contents
    /// are durable.
    ///
    /// # Errors
    ///
    /// The copy cannot be created, or another process writes it.
    pub fn open(directory: &Path, stream: StreamId, options: Options) -> Result<Self, Error> {
        directory::prepare(directory)?;
        let folder = directory.join(stream.to_string());
        if !folder.is_dir() {
            directory::create_stream(directory, stream)?;
        }
        let Some(lock) = directory::try_lock(&folder)? else {
            return Err(Error::Unsafe {
                path: folder,
                why: "is being written by another connection",
            });
        };
        let resumed = resume(
            Arc::new(Host),
            folder,
            stream,
            options,
            Some(lock),
            Role::Copies,
        )?;
        let mut log = resumed.log;
        log.sync()?;
        Ok(Self { log })
    }

    /// The last stored number.
    pub fn last_seq(&self) -> Seq {
        self.log.chain.seq()
    }

    /// Appends a record with its stored bytes; durable after [`Replica::sync`].
    ///
    /// # Errors
    ///
    /// So many frames waited that they had to be written, and the write failed.
    pub fn append(&mut self, seq: Seq, stored: &[u8]) -> Result<Kept, Error> {
        let last = self.last_seq();
        if seq <= last {
            return Ok(Kept::Duplicate);
        }
        let mut chain = self.log.chain;
        let continues = chain.verify(seq, stored);
        if !continues && seq == last.next() || stored.len() > MAX_PAYLOAD {
            return Ok(Kept::Broken);
        }
        if self.log.held() >= HELD_BYTES {
            self.log.sync()?;
        }
        self.log.push(|current, buffer| {
            *current = chain;
            buffer.extend_from_slice(stored);
            seq
        });
        Ok(if continues { Kept::New } else { Kept::AfterGap })
    }

    /// Makes all records durable. Returns the last number.
    ///
    /// # Errors
    ///
    /// Writing or syncing fails.
    pub fn sync(&mut self) -> Result<Seq, Error> {
        self.log.sync()
    }
}
