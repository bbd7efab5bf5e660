//! Makes batches of the spool's records.
//!
//! Only durable records are sent: a number that a collector has seen is never given
//! to another record after a crash. A batch's numbers are dense.

use std::time::Duration;

use tokio::time::Instant;

use crate::record::{Seq, StreamId, proto};
use crate::spool::{Cursor, Error, Item, Store};

/// Most records of a batch, which ends at whichever limit comes first.
pub(crate) const BATCH_RECORDS: usize = 512;
pub(crate) const BATCH_BYTES: usize = 1 << 20;
pub(super) const BATCH_WAIT: Duration = Duration::from_millis(200);

/// A batch that is ready to be sent.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) last: Seq,
    pub(super) bytes: usize,
    pub(super) batch: proto::Batch,
}

/// Reads one stream from a number on.
#[derive(Debug)]
pub(super) struct Batcher {
    store: Store,
    stream: StreamId,
    cursor: Cursor,
    /// A record that was read, but is not durable yet or does not fit into the last
    /// batch.
    held: Option<(Seq, Vec<u8>)>,
    durable: Seq,
    open: proto::Batch,
    open_bytes: usize,
    open_since: Option<Instant>,
    /// The number that continues the open batch.
    next: Seq,
}

impl Batcher {
    /// Begins after the last record that the collector stores.
    pub(super) fn new(store: Store, stream: StreamId, held: Seq) -> Result<Self, Error> {
        let mut cursor = store.cursor(stream)?;
        cursor.seek(held.next())?;
        Ok(Self {
            store,
            stream,
            cursor,
            held: None,
            durable: Seq::default(),
            open: proto::Batch::default(),
            open_bytes: 0,
            open_since: None,
            next: held.next(),
        })
    }

    /// The next batch that is full, or whose first record has waited long enough.
    pub(super) fn next(&mut self, most: usize, now: Instant) -> Result<Option<Ready>, Error> {
        let full = self.fill(most, now)?;
        let waited = self.deadline().is_some_and(|deadline| deadline <= now);
        if self.open.records.is_empty() || !(full || waited) {
            return Ok(None);
        }
        let batch = std::mem::take(&mut self.open);
        self.open_since = None;
        Ok(Some(Ready {
            last: Seq(self.next.0 - 1),
            bytes: std::mem::take(&mut self.open_bytes),
            batch,
        }))
    }

    /// The time at which the open batch has to be sent.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.open_since.map(|since| since + BATCH_WAIT)
    }

    /// The last durable number when the head was read.
    pub(super) fn durable(&self) -> Seq {
        self.durable
    }

    /// Whether every durable record was returned.
    pub(super) fn is_drained(&self) -> bool {
        self.open.records.is_empty() && self.held.is_none()
    }

    /// Fills the batch. True when it is full.
    fn fill(&mut self, most: usize, now: Instant) -> Result<bool, Error> {
        // A head that is being written is read at the next attempt.
        if let Some((durable, _)) = self.store.head(self.stream) {
            self.durable = self.durable.max(durable);
        }
        loop {
            let (seq, bytes) = match self.held.take() {
                Some(held) => held,
                None => match self.cursor.next()? {
                    None | Some(Item::Damage { last: None, .. }) => return Ok(false),
                    // The gap in the numbers shows the damage.
                    Some(Item::Damage { .. } | Item::Flaw { .. }) => continue,
                    Some(Item::Record { seq, bytes, .. }) => (seq, bytes),
                },
            };
            let begins = self.open.records.is_empty();
            let fits = begins
                || (seq == self.next
                    && self.open.records.len() < BATCH_RECORDS
                    && self.open_bytes + bytes.len() <= most);
            let durable = seq <= self.durable;
            if !fits || !durable {
                self.held = Some((seq, bytes));
                return Ok(!fits);
            }
            if begins {
                self.open.first_seq = seq.0;
                self.open_since = Some(now);
            }
            self.next = seq.next();
            self.open_bytes += bytes.len();
            self.open.records.push(bytes);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::spool::{Options, Spool};

    fn event(length: usize) -> proto::Record {
        let event = proto::StreamEvent {
            event: "x".repeat(length),
            ..Default::default()
        };
        proto::Record {
            body: Some(proto::record::Body::StreamEvent(event)),
            ..Default::default()
        }
    }

    fn batcher(directory: &std::path::Path, spool: &Spool) -> Batcher {
        let store = Store::open(directory).unwrap();
        Batcher::new(store, spool.stream_id(), Seq(0)).unwrap()
    }

    #[test]
    fn a_batch_ends_at_its_number_its_size_or_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        for _ in 0..BATCH_RECORDS + 1 {
            spool.append(event(10)).unwrap();
        }
        for _ in 0..3 {
            spool.append(event(400_000)).unwrap();
        }
        spool.sync().unwrap();
        let mut batcher = batcher(dir.path(), &spool);
        let now = Instant::now();
        let first = batcher.next(BATCH_BYTES, now).unwrap().unwrap();
        assert_eq!(first.batch.records.len(), BATCH_RECORDS);
        let second = batcher.next(BATCH_BYTES, now).unwrap().unwrap();
        assert_eq!(second.batch.records.len(), 3);
        assert!(second.bytes <= BATCH_BYTES);
        assert_eq!(second.batch.first_seq, BATCH_RECORDS as u64 + 1);
        assert!(batcher.next(BATCH_BYTES, now).unwrap().is_none());
        let third = batcher.next(BATCH_BYTES, now + BATCH_WAIT).unwrap();
        assert_eq!(third.unwrap().last, spool.last_seq());
        assert!(batcher.is_drained());
    }

    #[test]
    fn what_is_not_durable_does_not_leave() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        spool.append(event(1)).unwrap();
        spool.sync().unwrap();
        spool.append(event(2)).unwrap();
        spool.flush();
        let mut batcher = batcher(dir.path(), &spool);
        let begin = Instant::now();
        assert!(batcher.next(BATCH_BYTES, begin).unwrap().is_none());
        let later = begin + BATCH_WAIT;
        let ready = batcher.next(BATCH_BYTES, later).unwrap().unwrap();
        assert_eq!(ready.last, Seq(1));
        assert!(batcher.next(BATCH_BYTES, later).unwrap().is_none());
        spool.sync().unwrap();
        assert!(batcher.next(BATCH_BYTES, later).unwrap().is_none());
        let ready = batcher.next(BATCH_BYTES, later + BATCH_WAIT).unwrap();
        assert_eq!(ready.unwrap().last, Seq(2));
    }

    #[test]
    fn a_record_larger_than_the_window_goes_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        spool.append(event(1)).unwrap();
        spool.append(event(100_000)).unwrap();
        spool.append(event(1)).unwrap();
        spool.sync().unwrap();
        let mut batcher = batcher(dir.path(), &spool);
        let now = Instant::now();
        let sizes: Vec<_> =
            std::iter::from_fn(|| batcher.next(1000, now).unwrap().map(|ready| ready.last))
                .collect();
        assert_eq!(sizes, [Seq(1), Seq(2)]);
    }
}
