//! Records that a collector refused: they are stored on the host, and declared.
//!
//! Each stream has one file beside the spool, of length-delimited `SetAside`
//! messages. The spool may free an acknowledged record; a refused one stays in this
//! file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use prost::Message as _;

use super::clock::unix_ns;
use crate::record::{Seq, StreamId, proto};
use crate::spool::{self, Cursor, Item, Store};

/// Most bytes of a file: a collector that refuses everything does not fill the disk a
/// second time.
const MOST_BYTES: u64 = 16 << 20;
/// Most characters of the collector's reason.
const REASON_CHARS: usize = 200;

/// The refusals of one stream since the last declaration.
#[derive(Debug)]
pub(super) struct Refused {
    path: PathBuf,
    first: Seq,
    last: Seq,
    count: u64,
    unkept: u64,
    reason: String,
    /// Cursor after the last stored refusal: refusals come in order.
    cursor: Option<Cursor>,
}

impl Refused {
    /// The file of this stream in this spool.
    pub(super) fn new(spool: &Path, stream: StreamId) -> Self {
        let folder = spool.parent().unwrap_or(spool).join("refused");
        Self {
            path: folder.join(stream.to_string()),
            first: Seq::default(),
            last: Seq::default(),
            count: 0,
            unkept: 0,
            reason: String::new(),
            cursor: None,
        }
    }

    /// Stores a record as the spool has it. A record that is in the file already is
    /// skipped.
    pub(super) fn keep(&mut self, store: &Store, stream: StreamId, seq: Seq, reason: &str) {
        if seq <= self.last {
            return;
        }
        if self.count == 0 {
            self.first = seq;
            self.reason = reason.chars().take(REASON_CHARS).collect();
        }
        self.last = seq;
        self.count += 1;
        if let Err(error) = self.write(store, stream, seq, reason) {
            tracing::error!(
                "cannot set record {seq} aside in {}: {error}",
                self.path.display()
            );
            self.unkept += 1;
        }
    }

    /// The text to record about new refusals, once.
    pub(super) fn declaration(&mut self) -> Option<String> {
        let count = std::mem::take(&mut self.count);
        let unkept = std::mem::take(&mut self.unkept);
        if count == 0 {
            return None;
        }
        let kept = if unkept == 0 {
            String::new()
        } else {
            format!(", {unkept} of them only in the spool")
        };
        Some(format!(
            "{count} from {} to {}, set aside in {}{kept}: {}",
            self.first,
            self.last,
            self.path.display(),
            self.reason
        ))
    }

    fn find(
        &mut self,
        store: &Store,
        stream: StreamId,
        seq: Seq,
    ) -> Result<Option<Vec<u8>>, spool::Error> {
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            none => {
                let mut cursor = store.cursor(stream)?;
                cursor.seek(seq)?;
                none.insert(cursor)
            }
        };
        loop {
            match cursor.next()? {
                Some(Item::Record {
                    seq: found, bytes, ..
                }) if found >= seq => return Ok((found == seq).then_some(bytes)),
                None | Some(Item::Damage { last: None, .. }) => return Ok(None),
                Some(_) => {}
            }
        }
    }

    fn write(&mut self, store: &Store, stream: StreamId, seq: Seq, reason: &str) -> io::Result<()> {
        let record = self
            .find(store, stream, seq)
            .map_err(io::Error::other)?
            .ok_or_else(|| io::Error::other("the spool does not have it"))?;
        let message = proto::SetAside {
            seq: seq.0,
            reason: reason.chars().take(REASON_CHARS).collect(),
            time_unix_ns: unix_ns(),
            record,
        };
        if let Some(folder) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let length = fs::metadata(&self.path).map_or(0, |about| about.len());
        let bytes = message.encode_length_delimited_to_vec();
        if length + bytes.len() as u64 > MOST_BYTES {
            return Err(io::Error::other("the file is full"));
        }
        let mut file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&self.path)?;
        file.write_all(&bytes)?;
        file.sync_data()
    }
}
