//! A disk that fails: no durable record changes, no numbered record is lost, and a
//! record without room is counted.

use std::path::Path;
use std::sync::Arc;

use super::super::disk::Disk;
use super::super::log::{Log, Start};
use super::super::position::{self, HEAD};
use super::super::read::{Cursor, Raw};
use super::super::resume::{Role, resume};
use super::super::{Options, Spool};
use super::memory::{Faults, MemoryDisk};
use super::record;
use crate::record::chain::Chain;
use crate::record::{Seq, StreamId, proto};

pub(super) const DIRECTORY: &str = "/stream";

fn begin(disk: &MemoryDisk, stream: StreamId) -> Spool {
    begin_with(disk, stream, Options::default())
}

pub(super) fn begin_with(disk: &MemoryDisk, stream: StreamId, options: Options) -> Spool {
    let start = Start {
        chain: Chain::start(stream),
        durable: Seq::default(),
        segment: None,
        waiting: None,
    };
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let log = Log::new(disk, DIRECTORY.into(), stream, options, None, start).unwrap();
    Spool::new(log, &[])
}

pub(super) fn again(disk: &MemoryDisk, stream: StreamId) -> Spool {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let resumed = resume(
        disk,
        DIRECTORY.into(),
        stream,
        Options::default(),
        None,
        Role::Numbers,
    )
    .unwrap();
    Spool::new(resumed.log, &resumed.missing)
}

/// Numbers and stored bytes of a complete stream.
fn stored(disk: &MemoryDisk, stream: StreamId) -> Vec<(u64, Vec<u8>)> {
    let mut cursor = Cursor::new(Arc::new(disk.clone()), DIRECTORY.into(), stream);
    let mut frames = Vec::new();
    while let Some(raw) = cursor.next_raw().unwrap() {
        match raw {
            Raw::Frame { seq, bytes } => frames.push((seq.0, bytes)),
            other => panic!("{other:?}"),
        }
    }
    frames
}

fn numbers(disk: &MemoryDisk, stream: StreamId) -> Vec<u64> {
    stored(disk, stream)
        .into_iter()
        .map(|(seq, _)| seq)
        .collect()
}

/// S3: the kernel may treat pages as clean that never reached the disk.
#[test]
fn after_a_failed_sync_what_was_not_synced_is_written_anew_elsewhere() {
    let (disk, stream) = (MemoryDisk::default(), StreamId::generate());
    let mut spool = begin(&disk, stream);
    spool.append(record("one")).unwrap();
    spool.sync().unwrap();
    spool.append(record("two")).unwrap();
    disk.set(Faults {
        sync_in: Some(0),
        ..Faults::default()
    });
    assert!(spool.sync().is_err());
    assert_eq!(spool.durable(), Seq(1));
    spool.append(record("three")).unwrap();
    assert_eq!(spool.sync().unwrap(), Seq(3));
    disk.lose_power(|| false);
    assert_eq!(numbers(&disk, stream), [1, 2, 3]);
    assert!(
        disk.bytes(&Path::new(DIRECTORY).join("00000000000000000002.seg"))
            .is_some()
    );
    assert_eq!(again(&disk, stream).append(record("four")), Some(Seq(4)));
}

/// S3.
#[test]
fn a_write_that_fails_halfway_is_gone_on_with_where_it_ended() {
    let (disk, stream) = (MemoryDisk::default(), StreamId::generate());
    let mut spool = begin(&disk, stream);
    spool.append(record("one")).unwrap();
    spool.sync().unwrap();
    for number in 2..10 {
        disk.set(Faults {
            write_in: Some(0),
            ..Faults::default()
        });
        spool.append(record("more")).unwrap();
        spool.flush();
        assert!(spool.sync().is_ok());
        assert_eq!(numbers(&disk, stream), (1..=number).collect::<Vec<_>>());
    }
}

/// S1, S3: the disk is full, read-only or broken, and the recorder continues.
#[test]
fn while_nothing_can_be_written_records_are_held_by_class_and_counted() {
    let (disk, stream) = (MemoryDisk::default(), StreamId::generate());
    let mut spool = begin(&disk, stream);
    spool.append(record("before")).unwrap();
    spool.sync().unwrap();
    disk.set(Faults {
        broken: true,
        ..Faults::default()
    });
    assert!(spool.sync().is_ok(), "nothing was to be written");
    spool.append(record("begins it")).unwrap();
    assert!(spool.sync().is_err());
    let file = |op: proto::FileOp| proto::Record {
        body: Some(proto::record::Body::File(proto::File {
            op: op.into(),
            path: vec![b'x'; 1000],
            ..Default::default()
        })),
        ..Default::default()
    };
    let mut kept = [0u64; 3];
    let mut tried = 0u64;
    for _ in 0..10_000 {
        tried += 1;
        let offered = [
            file(proto::FileOp::Open),
            file(proto::FileOp::Rename),
            record(&"x".repeat(1000)),
        ];
        for (kept, record) in kept.iter_mut().zip(offered) {
            *kept += u64::from(spool.append(record).is_some());
        }
        assert!(spool.take_news().is_empty(), "it could not be kept");
    }
    assert!(kept[0] < kept[1] && kept[1] < kept[2], "{kept:?}");
    assert!(kept[0] > 0 && kept[2] < tried, "{kept:?}");
    let last = spool.last_seq();
    assert_eq!(last.0, 2 + kept.iter().sum::<u64>(), "numbers stay dense");
    disk.set(Faults::default());
    assert_eq!(spool.sync().unwrap(), last);
    let news = spool.take_news();
    let [
        proto::record::Body::StreamEvent(event),
        proto::record::Body::Loss(loss),
    ] = &news[..]
    else {
        panic!("{news:?}")
    };
    assert_eq!(event.event, "spool_outage");
    assert_eq!(loss.count, 3 * tried - kept.iter().sum::<u64>());
    assert_eq!(spool.dropped(), loss.count);
    let count = |kind| {
        loss.kinds
            .iter()
            .find(|found| found.kind == kind)
            .unwrap()
            .count
    };
    assert_eq!(count("open"), tried - kept[0]);
    assert_eq!(count("file"), tried - kept[1]);
    assert_eq!(count("stream_event"), tried - kept[2]);
    assert_eq!(numbers(&disk, stream), (1..=last.0).collect::<Vec<_>>());
}

/// S6.
#[test]
fn a_power_loss_while_a_segment_is_begun_leaves_the_one_before_it() {
    let (disk, stream) = (MemoryDisk::default(), StreamId::generate());
    let mut spool = begin(&disk, stream);
    spool.append(record("one")).unwrap();
    spool.sync().unwrap();
    let path = Path::new(DIRECTORY).join("00000000000000000002.seg");
    for length in [0, 10, 64] {
        let file = disk.create(&path).unwrap();
        file.write_at(&vec![0; length], 0).unwrap_or_default();
        disk.lose_power(|| true);
        assert_eq!(numbers(&disk, stream), [1]);
        let mut spool = again(&disk, stream);
        assert_eq!(spool.take_news(), []);
        assert!(disk.bytes(&path).is_none());
    }
    assert_eq!(
        position::read(&disk, Path::new(DIRECTORY), HEAD)
            .unwrap()
            .seq(),
        Seq(1)
    );
}
