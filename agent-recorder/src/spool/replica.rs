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
    /// Opens or begins the copy of a stream under `directory`. All that it holds is durable.
    ///
    /// # Errors
    ///
    /// It cannot be made, or somebody else writes it.
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

    /// The last number that is held.
    pub fn last_seq(&self) -> Seq {
        self.log.chain.seq()
    }

    /// Keeps a record as it was stored elsewhere; durable after [`Replica::sync`].
    ///
    /// # Errors
    ///
    /// So much was held that it had to be written, and could not be.
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

    /// Makes everything durable. The last number.
    ///
    /// # Errors
    ///
    /// Writing or syncing fails.
    pub fn sync(&mut self) -> Result<Seq, Error> {
        self.log.sync()
    }
}
