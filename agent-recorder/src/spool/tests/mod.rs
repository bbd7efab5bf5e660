//! Properties of a stream on a real file system.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod any;
mod crash;
mod damage;
mod directory;
mod memory;
mod model;
mod outage;
mod retention;

use std::fs;
use std::path::{Path, PathBuf};

use memory::{Faults, MemoryDisk};

use super::format::{self, Found, HEADER_BYTES};
use super::{Item, Options, Spool, Store};
use crate::record::{Seq, StreamId, proto};

/// A directory whose syncs take no time: `outage` and `model` test syncs.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

fn record(text: &str) -> proto::Record {
    let event = proto::StreamEvent {
        event: text.to_owned(),
        ..Default::default()
    };
    proto::Record {
        body: Some(proto::record::Body::StreamEvent(event)),
        ..Default::default()
    }
}

fn small_segments() -> Options {
    Options {
        segment_bytes: 2000,
        ..Options::default()
    }
}

fn spool_of(directory: &Path, records: usize) -> (StreamId, PathBuf) {
    let mut spool = Spool::open(directory, small_segments()).unwrap();
    for number in 0..records {
        spool.append(record(&format!("event {number}"))).unwrap();
        spool.flush();
    }
    spool.sync().unwrap();
    (spool.stream_id(), spool.dir().to_owned())
}

fn numbers(directory: &Path, stream: StreamId) -> (Vec<u64>, Vec<(u64, Option<u64>)>) {
    let mut cursor = Store::open(directory).unwrap().cursor(stream).unwrap();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    while let Some(item) = cursor.next().unwrap() {
        match item {
            Item::Record { seq, .. } => good.push(seq.0),
            Item::Damage { first, last, .. } => {
                bad.push((first.0, last.map(|last| last.0)));
                if last.is_none() {
                    break;
                }
            }
            Item::Flaw { at, why } => panic!("at {at} {why}"),
        }
    }
    (good, bad)
}

#[test]
fn numbers_are_dense_over_segments_and_reopening() {
    let dir = in_memory();
    let (stream, _) = spool_of(dir.path(), 100);
    let (again, _) = spool_of(dir.path(), 20);
    assert_eq!(stream, again);
    assert_eq!(numbers(dir.path(), stream), ((1..=120).collect(), vec![]));
}

/// The segment's bytes, and the offset of each frame.
fn frames(path: &Path) -> (Vec<u8>, Vec<usize>) {
    let whole = fs::read(path).unwrap();
    let (mut at, mut starts) = (HEADER_BYTES, Vec::new());
    while let Found::Frame { bytes, .. } = format::parse(&whole[at..]) {
        starts.push(at);
        at += bytes;
    }
    (whole, starts)
}

/// Ranges that the spool declares missing, and whether they had been durable.
fn told(spool: &mut Spool) -> Vec<(u64, u64, bool)> {
    let news = spool.take_news().into_iter();
    news.filter_map(|body| match body {
        proto::record::Body::Loss(loss) => {
            assert_eq!(loss.stage, "spool");
            assert_eq!(loss.count, loss.last_seq - loss.first_seq + 1);
            Some((loss.first_seq, loss.last_seq, loss.was_durable))
        }
        _ => None,
    })
    .collect()
}

/// D1, S4: frames that were written and not synced when the recorder died.
#[test]
fn a_torn_tail_is_cut_at_the_last_good_frame() {
    let dir = in_memory();
    let (stream, folder) = spool_of(dir.path(), 2);
    {
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        for _ in 0..3 {
            spool.append(record("not synced")).unwrap();
        }
        spool.flush();
    }
    let path = folder.join("00000000000000000001.seg");
    let (whole, starts) = frames(&path);
    assert_eq!(starts.len(), 5);
    let head = fs::read(folder.join("head")).unwrap();
    for length in starts[2]..whole.len() {
        for entry in fs::read_dir(&folder).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        fs::write(folder.join("head"), &head).unwrap();
        fs::write(&path, &whole[..length]).unwrap();
        let (good, _) = numbers(dir.path(), stream);
        assert_eq!(good, (1..=good.len() as u64).collect::<Vec<_>>());
        assert!((2..5).contains(&good.len()), "{good:?} of {length} bytes");
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        assert_eq!(told(&mut spool), []);
        assert_eq!(
            spool.append(record("next")).unwrap(),
            Seq(good.len() as u64 + 1)
        );
        spool.sync().unwrap();
        drop(spool);
        let (after, damage) = numbers(dir.path(), stream);
        assert_eq!((after.len(), damage), (good.len() + 1, vec![]));
    }
}

/// S4: the collector may have the durable records.
#[test]
fn numbers_that_were_durable_are_never_given_again() {
    let dir = in_memory();
    let (stream, folder) = spool_of(dir.path(), 5);
    let path = folder.join("00000000000000000001.seg");
    let (whole, starts) = frames(&path);
    let head = fs::read(folder.join("head")).unwrap();
    let zeroed = |from: usize| {
        let mut bytes = whole.clone();
        bytes[from..].fill(0);
        bytes
    };
    let cut = (starts[2]..whole.len()).map(|length| whole[..length].to_vec());
    let zero = (starts[2]..whole.len()).map(zeroed);
    for bytes in cut.chain(zero) {
        for entry in fs::read_dir(&folder).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        fs::write(folder.join("head"), &head).unwrap();
        fs::write(&path, &bytes).unwrap();
        let (good, _) = numbers(dir.path(), stream);
        let good = good.len() as u64;
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        assert_eq!(spool.stream_id(), stream);
        let missing = told(&mut spool);
        if bytes == whole {
            // The last bytes of the last frame were zeros.
            assert_eq!(missing, []);
            continue;
        }
        assert_eq!(missing, [(good + 1, 5, true)]);
        assert_eq!(spool.append(record("next")), Some(Seq(6)));
        spool.sync().unwrap();
        drop(spool);
        let mut expected: Vec<_> = (1..=good).collect();
        expected.push(6);
        assert_eq!(
            numbers(dir.path(), stream),
            (expected, vec![(good + 1, Some(5))])
        );
    }
}

/// A record that leaves this host keeps its content and number after a power loss.
#[test]
fn a_durable_cursor_sees_only_what_is_synced() {
    let dir = in_memory();
    let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut cursor = store.durable_cursor(spool.stream_id()).unwrap();
    for number in 1..20 {
        spool.append(record("x")).unwrap();
        spool.flush();
        assert!(cursor.next().unwrap().is_none());
        assert_eq!(spool.durable(), Seq(number - 1));
        spool.sync().unwrap();
        assert_eq!(spool.durable(), Seq(number));
        assert!(
            matches!(cursor.next().unwrap(), Some(Item::Record { seq: Seq(n), .. }) if n == number)
        );
    }
}

/// S8.
#[test]
fn a_record_larger_than_a_frame_is_counted_and_the_next_one_is_kept() {
    let dir = in_memory();
    let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
    assert_eq!(spool.append(record("small")), Some(Seq(1)));
    assert_eq!(spool.append(record(&"x".repeat(2 << 20))), None);
    assert_eq!(spool.append(record("small")), Some(Seq(2)));
    spool.sync().unwrap();
    let Some(proto::record::Body::Loss(loss)) = spool.take_news().pop() else {
        panic!("nothing is told")
    };
    assert_eq!((loss.count, loss.first_seq), (1, 0));
    assert_eq!(numbers(dir.path(), spool.stream_id()), (vec![1, 2], vec![]));
}

#[test]
fn a_flipped_bit_costs_one_record_and_says_which() {
    let dir = in_memory();
    let (stream, folder) = spool_of(dir.path(), 8);
    let path = folder.join("00000000000000000001.seg");
    let whole = fs::read(&path).unwrap();
    let Found::Frame { bytes, .. } = format::parse(&whole[HEADER_BYTES..]) else {
        panic!("no frame")
    };
    for at in HEADER_BYTES + bytes..HEADER_BYTES + 2 * bytes {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(
            numbers(dir.path(), stream),
            (vec![1, 3, 4, 5, 6, 7, 8], vec![(2, Some(2))]),
            "byte {at}"
        );
    }
}

#[test]
fn two_writers_never_share_a_stream() {
    let dir = in_memory();
    let first = Spool::open(dir.path(), Options::default()).unwrap();
    let second = Spool::open(dir.path(), Options::default()).unwrap();
    assert_ne!(first.stream_id(), second.stream_id());
}

#[test]
fn a_cursor_goes_on_when_more_was_written() {
    let dir = in_memory();
    let mut spool = Spool::open(
        dir.path(),
        Options {
            segment_bytes: 300,
            ..Options::default()
        },
    )
    .unwrap();
    let mut cursor = Store::open(dir.path())
        .unwrap()
        .cursor(spool.stream_id())
        .unwrap();
    for number in 1..20 {
        assert!(cursor.next().unwrap().is_none());
        spool.append(record("x")).unwrap();
        spool.flush();
        assert!(
            matches!(cursor.next().unwrap(), Some(Item::Record { seq: Seq(n), .. }) if n == number)
        );
    }
    cursor.seek(Seq(7)).unwrap();
    assert!(matches!(
        cursor.next().unwrap(),
        Some(Item::Record { seq: Seq(7), .. })
    ));
}
