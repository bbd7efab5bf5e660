//! Arbitrary bytes: reading ends, and returns only records that were written.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::super::{Item, Options, Spool, Store, position};
use super::{in_memory, record};
use crate::record::chain;

/// A change: its offset, its bytes, and their length.
#[derive(Clone, Debug)]
enum Change {
    Put(usize, Vec<u8>),
    Remove(usize, usize),
    Insert(usize, Vec<u8>),
    /// A copy of a part at another offset.
    Repeat(usize, usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..40);
    let at = || 0..2000usize;
    prop_oneof![
        (at(), bytes()).prop_map(|(at, bytes)| Change::Put(at, bytes)),
        (at(), 1..300usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (at(), bytes()).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1..300usize, at()).prop_map(|(at, count, to)| Change::Repeat(at, count, to)),
    ]
}

impl Change {
    fn apply(self, bytes: &mut Vec<u8>) {
        let part = |bytes: &[u8], at: usize, count: usize| {
            let at = at.min(bytes.len());
            at..(at + count).min(bytes.len())
        };
        match self {
            Self::Put(at, content) => {
                let range = part(bytes, at, content.len());
                bytes[range.clone()].copy_from_slice(&content[..range.len()]);
            }
            Self::Remove(at, count) => {
                bytes.drain(part(bytes, at, count));
            }
            Self::Insert(at, content) => {
                let at = at.min(bytes.len());
                bytes.splice(at..at, content);
            }
            Self::Repeat(at, count, to) => {
                let content = bytes[part(bytes, at, count)].to_vec();
                let to = to.min(bytes.len());
                bytes.splice(to..to, content);
            }
        }
    }
}

/// Reads a stream; each record must be one of those written.
fn read(directory: &Path, written: &[Vec<u8>]) -> Vec<u64> {
    let store = Store::open(directory).unwrap();
    let mut cursor = store.cursor(store.streams().unwrap()[0]).unwrap();
    let (mut numbers, mut behind) = (Vec::new(), 0);
    while let Some(item) = cursor.next().unwrap() {
        match item {
            Item::Record { seq, bytes, .. } => {
                assert_eq!(seq.0, behind + 1);
                if let Some(original) = written.get(numbers_index(seq.0)) {
                    assert_eq!(&bytes, original, "{seq}");
                }
                behind = seq.0;
                numbers.push(seq.0);
            }
            Item::Damage { last: None, .. } => break,
            Item::Damage {
                first,
                last: Some(last),
                ..
            } => {
                assert_eq!(first.0, behind + 1);
                assert!(first <= last);
                behind = last.0;
            }
            Item::Flaw { .. } => {}
        }
    }
    numbers
}

fn numbers_index(seq: u64) -> usize {
    usize::try_from(seq - 1).unwrap()
}

proptest! {
    /// S4: any kind of change, anywhere, also in the positions.
    #[test]
    fn however_a_stream_is_changed_reading_ends_and_numbers_go_on(
        in_segment in prop::collection::vec(change(), 1..6),
        in_head in prop::collection::vec(change(), 0..2),
    ) {
        let dir = in_memory();
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        for number in 0..12 {
            spool.append(record(&format!("event {number}"))).unwrap();
        }
        let durable = spool.sync().unwrap();
        let folder = spool.dir().to_owned();
        drop(spool);
        let store = Store::open(dir.path()).unwrap();
        let stream = store.streams().unwrap()[0];
        let mut written = Vec::new();
        let mut cursor = store.cursor(stream).unwrap();
        while let Some(Item::Record { bytes, .. }) = cursor.next().unwrap() {
            prop_assert!(chain::split(&bytes).is_some());
            written.push(bytes);
        }
        let head_is_whole = in_head.is_empty();
        for (name, changes) in [("00000000000000000001.seg", in_segment), (position::HEAD, in_head)] {
            let path = folder.join(name);
            let mut bytes = fs::read(&path).unwrap();
            changes.into_iter().for_each(|change| change.apply(&mut bytes));
            fs::write(&path, bytes).unwrap();
        }
        read(dir.path(), &written);
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        if head_is_whole {
            prop_assert_eq!(spool.stream_id(), stream);
            prop_assert_eq!(spool.append(record("next")), Some(durable.next()));
        } else {
            // Where both the end and the head are altered, the last number is
            // unknown.
            spool.append(record("next")).unwrap();
            written.clear();
        }
        spool.sync().unwrap();
        read(dir.path(), &written);
    }
}
