//! One stream's copy: stores, drops or refuses each record of a batch.
//!
//! An acknowledgement follows the sync of a record, or the declaration of a gap.
//! Not here: the sender, and the connection.

use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;

use super::declared_gaps::{self, Gaps};
use crate::fault;
use crate::record::{Seq, StreamId, proto};
use crate::spool::{self, Cursor, Item, Kept, Options, Replica, Store};

/// Largest number of a record: a thousand million records a second reach it after 290
/// years.
const LAST_NUMBER: u64 = 1 << 63;

/// Largest record of a segment, bytes.
const MOST_RECORD: usize = 1 << 20;

/// An error of one copy.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Spool(#[from] spool::Error),
    #[error("cannot declare what is absent in {folder}: {source}")]
    Absent { folder: PathBuf, source: io::Error },
    #[error("a batch from {first} with {records} records has no such numbers")]
    Numbers { first: u64, records: usize },
}

impl Error {
    /// Whether the only cause is a full disk.
    pub(super) fn is_full(&self) -> bool {
        let source = match self {
            Self::Spool(spool::Error::Io { source, .. }) | Self::Absent { source, .. } => source,
            Self::Spool(_) | Self::Numbers { .. } => return false,
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

/// The result of one batch.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) refusals: Vec<proto::Refusal>,
    /// Numbers missing before the batch, which are declared now.
    pub(super) missing: Option<(Seq, Seq)>,
}

/// One stream, open for writing.
#[derive(Debug)]
pub(super) struct StreamCopy {
    store: PathBuf,
    stream: StreamId,
    replica: Replica,
    gaps: Gaps,
    position: Seq,
    /// Cursor for comparing records that are sent again, and the number that follows.
    again: Option<(Seq, Cursor)>,
}

impl StreamCopy {
    /// Opens the copy and makes its present contents durable.
    pub(super) fn open(store: &Path, stream: StreamId) -> Result<Self, Error> {
        let mut replica = Replica::open(store, stream, Options::default())?;
        let held = replica.sync()?;
        let folder = store.join(stream.to_string());
        let failed = |source| Error::Absent {
            folder: folder.clone(),
            source,
        };
        let gaps = Gaps::open(&folder).map_err(failed)?;
        let declared = declared_gaps::declared(&folder).map_err(failed)?;
        Ok(Self {
            store: store.to_owned(),
            stream,
            replica,
            gaps,
            position: declared_gaps::extended(held, &declared),
            again: None,
        })
    }

    /// The last number up to which every record is stored or declared absent.
    pub(super) fn position(&self) -> Seq {
        self.position
    }

    /// The last stored record, and its chain value.
    pub(super) fn held(&self) -> (Seq, Vec<u8>) {
        let head = Store::open(&self.store)
            .ok()
            .and_then(|store| store.head(self.stream));
        head.map_or((Seq::default(), Vec::new()), |(seq, value)| {
            (seq, value.to_vec())
        })
    }

    /// Stores a batch and makes it durable.
    pub(super) fn ingest(&mut self, batch: &proto::Batch) -> Result<Outcome, Error> {
        let first = batch.first_seq;
        if first == 0 || first.saturating_add(batch.records.len() as u64) > LAST_NUMBER {
            return Err(Error::Numbers {
                first,
                records: batch.records.len(),
            });
        }
        let mut outcome = Outcome::default();
        let expected = self.position.next();
        if Seq(first) > expected && !batch.records.is_empty() {
            let last = Seq(first - 1);
            self.gaps.add(expected, last, "never sent");
            self.position = last;
            outcome.missing = Some((expected, last));
        }
        for (seq, stored) in (first..).map(Seq).zip(&batch.records) {
            if let Some(reason) = self.one(seq, stored)? {
                outcome.refusals.push(proto::Refusal {
                    seq: seq.0,
                    reason: reason.to_owned(),
                });
            }
        }
        let folder = self.store.join(self.stream.to_string());
        self.gaps
            .sync()
            .map_err(|source| Error::Absent { folder, source })?;
        fault::point(fault::BATCH_APPENDED);
        self.replica.sync()?;
        fault::point(fault::BATCH_KEPT);
        Ok(outcome)
    }

    /// Stores one record. Returns the reason of a refusal; `None` when it is not
    /// refused.
    fn one(&mut self, seq: Seq, stored: &[u8]) -> Result<Option<&'static str>, Error> {
        if seq <= self.position {
            return self.again(seq, stored);
        }
        let numbered = proto::Record::decode(stored).map(|record| Seq(record.seq));
        let refused = match numbered {
            _ if stored.len() > MOST_RECORD => Some("it is too large"),
            Err(_) => Some("it is no record"),
            Ok(number) if number != seq => Some("it is numbered otherwise"),
            Ok(_) => match self.replica.append(seq, stored)? {
                Kept::New | Kept::AfterGap | Kept::Duplicate => None,
                Kept::Broken => Some("it does not continue the chain"),
            },
        };
        if let Some(reason) = refused {
            self.gaps.add(seq, seq, &format!("refused: {reason}"));
        }
        self.position = seq;
        Ok(refused)
    }

    /// Drops a record that is stored already, if it is the same; else returns the
    /// reason of its refusal.
    fn again(&mut self, seq: Seq, stored: &[u8]) -> Result<Option<&'static str>, Error> {
        let cursor = match &mut self.again {
            Some((next, cursor)) if *next == seq => cursor,
            other => {
                // A reader does not see records that wait in memory.
                self.replica.sync()?;
                let mut cursor = Store::open(&self.store)?.cursor(self.stream)?;
                cursor.seek(seq)?;
                &mut other.insert((seq, cursor)).1
            }
        };
        let held = loop {
            match cursor.next()? {
                Some(Item::Record {
                    seq: found, bytes, ..
                }) if found >= seq => break Some((found, bytes)),
                None | Some(Item::Damage { last: None, .. }) => break None,
                Some(_) => {}
            }
        };
        match held {
            Some((found, bytes)) if found == seq => {
                if let Some((next, _)) = &mut self.again {
                    *next = seq.next();
                }
                Ok((bytes != stored).then_some("another record has its number"))
            }
            // The number is declared absent, and stays so.
            _ => {
                self.again = None;
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::chain::Chain;

    fn records(chain: &mut Chain, count: usize, text: &str) -> Vec<Vec<u8>> {
        let event = proto::StreamEvent {
            event: text.to_owned(),
            ..Default::default()
        };
        let record = proto::Record {
            body: Some(proto::record::Body::StreamEvent(event)),
            ..Default::default()
        };
        let mut one = || {
            let mut bytes = Vec::new();
            chain.append(record.clone(), &mut bytes);
            bytes
        };
        (0..count).map(|_| one()).collect()
    }

    fn batch(first_seq: u64, records: &[Vec<u8>]) -> proto::Batch {
        proto::Batch {
            first_seq,
            records: records.to_vec(),
        }
    }

    #[test]
    fn a_gap_and_a_refusal_are_declared_before_they_are_acknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let stream = StreamId::generate();
        let sent = records(&mut Chain::start(stream), 10, "x");
        let mut copy = StreamCopy::open(dir.path(), stream).unwrap();
        copy.ingest(&batch(1, &sent[..3])).unwrap();
        let after_gap = copy.ingest(&batch(6, &sent[5..7])).unwrap();
        assert_eq!(after_gap.missing, Some((Seq(4), Seq(5))));
        let mut altered = sent[7].clone();
        let end = altered.len();
        altered[end - 1] ^= 1;
        let refused = copy.ingest(&batch(8, &[altered])).unwrap();
        assert_eq!(refused.refusals[0].seq, 8);
        assert_eq!(copy.position(), Seq(8));
        drop(copy);
        let mut copy = StreamCopy::open(dir.path(), stream).unwrap();
        assert_eq!(copy.position(), Seq(8), "also after a restart");
        assert_eq!(copy.held().0, Seq(7));
        copy.ingest(&batch(9, &sent[8..])).unwrap();
        let folder = dir.path().join(stream.to_string());
        let declared = declared_gaps::declared(&folder).unwrap();
        let runs: Vec<_> = declared
            .iter()
            .map(|gap| (gap.first.0, gap.last.0))
            .collect();
        assert_eq!(runs, [(4, 5), (8, 8)]);
    }

    /// N3: an acknowledgement that was lost.
    #[test]
    fn what_is_sent_again_is_dropped_if_it_is_the_same_and_refused_if_not() {
        let dir = tempfile::tempdir().unwrap();
        let stream = StreamId::generate();
        let sent = records(&mut Chain::start(stream), 5, "x");
        let forged = records(&mut Chain::start(stream), 5, "y");
        let mut copy = StreamCopy::open(dir.path(), stream).unwrap();
        copy.ingest(&batch(1, &sent)).unwrap();
        for first in [1, 3, 2] {
            let again = copy
                .ingest(&batch(first, &sent[first as usize - 1..]))
                .unwrap();
            assert!(again.refusals.is_empty(), "{again:?}");
        }
        let other = copy.ingest(&batch(2, &forged[1..3])).unwrap();
        let numbers: Vec<_> = other.refusals.iter().map(|refusal| refusal.seq).collect();
        assert_eq!(numbers, [2, 3]);
        assert_eq!(copy.position(), Seq(5));
    }

    /// An act of a daemon, honest or not.
    #[derive(Clone, Debug)]
    enum Act {
        Sends { first: usize, count: usize },
        Garbage { first: u64, bytes: Vec<u8> },
        ComesBack,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0..40_usize, 0..10_usize).prop_map(|(first, count)| Act::Sends { first, count }),
            (0..60_u64, proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(first, bytes)| Act::Garbage { first, bytes }),
            Just(Act::ComesBack),
        ]
    }

    proptest! {
        // Each act syncs a real disk.
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// N8: whatever is sent, in whatever order.
        #[test]
        fn a_copy_holds_what_it_acknowledged_or_declares_it_absent(
            acts in proptest::collection::vec(act(), 1..20),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let stream = StreamId::generate();
            let sent = records(&mut Chain::start(stream), 50, "x");
            let mut copy = StreamCopy::open(dir.path(), stream).unwrap();
            let mut position = copy.position();
            for act in acts {
                match act {
                    Act::Sends { first, count } => {
                        let some = &sent[first..first + count];
                        copy.ingest(&batch(first as u64 + 1, some)).unwrap();
                    }
                    Act::Garbage { first, bytes } => {
                        let kept = copy.ingest(&batch(first, &[bytes]));
                        prop_assert_eq!(kept.is_err(), first == 0);
                    }
                    Act::ComesBack => {
                        drop(copy);
                        copy = StreamCopy::open(dir.path(), stream).unwrap();
                        prop_assert_eq!(copy.position(), position);
                    }
                }
                prop_assert!(copy.position() >= position);
                position = copy.position();
            }
            let absent = declared_gaps::declared(&dir.path().join(stream.to_string())).unwrap();
            let mut cursor = Store::open(dir.path()).unwrap().cursor(stream).unwrap();
            let mut held = std::collections::BTreeSet::new();
            while let Some(item) = cursor.next().unwrap() {
                if let Item::Record { seq, bytes, .. } = item {
                    prop_assert_eq!(&bytes, &sent[seq.0 as usize - 1]);
                    held.insert(seq);
                }
            }
            for seq in (1..=position.0).map(Seq) {
                let declared = absent.iter().any(|run| run.first <= seq && seq <= run.last);
                prop_assert!(declared != held.contains(&seq), "{}", seq);
            }
        }

        #[test]
        fn no_bytes_at_all_make_a_decoder_fail_otherwise_than_by_saying_so(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        ) {
            let _ = proto::ToCollector::decode(bytes.as_slice());
            let _ = proto::ToDaemon::decode(bytes.as_slice());
            let _ = proto::Record::decode(bytes.as_slice());
        }
    }

    #[test]
    fn numbers_that_cannot_be_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut copy = StreamCopy::open(dir.path(), StreamId::generate()).unwrap();
        for first in [0, u64::MAX, LAST_NUMBER] {
            assert!(copy.ingest(&batch(first, &[vec![1]])).is_err());
        }
    }
}
