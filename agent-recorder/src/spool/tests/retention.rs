//! Removed segments, their order, and the records about them; and a long backlog.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::super::format::{self, SegmentHeader};
use super::super::position::{self, HEAD, Position};
use super::super::{Options, Spool, Store};
use super::outage::{DIRECTORY, again, begin_with};
use super::{Faults, MemoryDisk, in_memory, numbers, record, small_segments};
use crate::record::chain::Chain;
use crate::record::{Seq, StreamId, proto};
use proto::record::Body;

fn filled(directory: &Path, options: Options) -> Spool {
    let mut spool = Spool::open(directory, options).unwrap();
    for number in 0..100 {
        spool.append(record(&format!("event {number}"))).unwrap();
        spool.sync().unwrap();
    }
    spool
}

fn size(spool: &Spool) -> u64 {
    let entries = fs::read_dir(spool.dir()).unwrap();
    let lengths = entries.map(|entry| {
        let entry = entry.unwrap();
        let is_segment = entry.path().extension().is_some_and(|end| end == "seg");
        is_segment.then(|| entry.metadata().unwrap().len())
    });
    lengths.flatten().sum()
}

/// Without a collector no record waits to be sent: an event is enough.
#[test]
fn the_oldest_segments_go_when_there_are_more_bytes_than_configured() {
    let dir = in_memory();
    let mut spool = filled(dir.path(), small_segments());
    spool.tidy();
    assert_eq!(spool.take_news(), []);
    drop(spool);
    let limited = Options {
        retain_bytes: 5000,
        ..small_segments()
    };
    let mut spool = Spool::open(dir.path(), limited).unwrap();
    assert!(size(&spool) > 5000);
    spool.tidy();
    assert!(
        size(&spool) <= 5000 && size(&spool) > 2000,
        "{}",
        size(&spool)
    );
    let news = spool.take_news();
    let [Body::StreamEvent(event)] = &news[..] else {
        panic!("{news:?}")
    };
    assert_eq!(event.event, "spool_freed");
    let stream = spool.stream_id();
    let first = Store::open(dir.path()).unwrap().beginning(stream).seq().0 + 1;
    assert!(
        event.detail.starts_with(&format!("1 to {}: ", first - 1)),
        "{event:?}"
    );
    assert_eq!(spool.append(record("next")), Some(Seq(101)));
    spool.sync().unwrap();
    drop(spool);
    assert_eq!(
        numbers(dir.path(), stream),
        ((first..=101).collect(), vec![])
    );
    let mut spool = Spool::open(dir.path(), limited).unwrap();
    assert_eq!(spool.append(record("next")), Some(Seq(102)));
}

#[test]
fn what_a_collector_does_not_have_is_a_loss_when_it_has_to_go() {
    let dir = in_memory();
    let options = Options {
        retain_age: Duration::ZERO,
        ..small_segments()
    };
    let mut spool = filled(dir.path(), options);
    fs::write(spool.dir().join("acked"), "50").unwrap();
    let old = fs::File::options()
        .write(true)
        .open(spool.dir().join("00000000000000000001.seg"))
        .unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    spool.tidy();
    let news = spool.take_news();
    let [Body::StreamEvent(_), Body::Loss(loss)] = &news[..] else {
        panic!("{news:?}")
    };
    assert_eq!((loss.first_seq, loss.freed), (51, true));
    assert_eq!(loss.count, loss.last_seq - 50);
}

#[test]
fn streams_of_earlier_recorders_count_and_the_oldest_gives_way_first() {
    let dir = in_memory();
    let oldest = filled(dir.path(), small_segments());
    let middle = filled(dir.path(), small_segments());
    let ids = [oldest.stream_id(), middle.stream_id()];
    let sizes = [size(&oldest), size(&middle)];
    let limited = Options {
        retain_bytes: sizes[1] + 5000,
        ..small_segments()
    };
    let busy = middle;
    drop(oldest);
    let mut spool = Spool::open(dir.path(), limited).unwrap();
    assert_eq!(spool.stream_id(), ids[0], "the other one is written");
    drop(busy);
    let newest = {
        let _held = spool;
        let middle = Spool::open(dir.path(), small_segments()).unwrap();
        let newest = Spool::open(dir.path(), limited).unwrap();
        drop(middle);
        newest
    };
    spool = newest;
    assert!(!ids.contains(&spool.stream_id()));
    spool.append(record("own")).unwrap();
    spool.sync().unwrap();
    spool.tidy();
    let news = spool.take_news();
    let [Body::StreamEvent(event)] = &news[..] else {
        panic!("{news:?}")
    };
    assert!(event.detail.contains(&ids[0].to_string()), "{event:?}");
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.beginning(ids[1]).seq(), Seq(0));
    let first = store.beginning(ids[0]).seq().0 + 1;
    assert!(first > 1);
    assert_eq!(
        numbers(dir.path(), ids[0]),
        ((first..=100).collect(), vec![])
    );
}

/// S1: the oldest acknowledged segments are removed first, and no other record is
/// lost.
#[test]
fn on_a_full_disk_acknowledged_segments_go_and_records_are_written_on() {
    let (disk, stream) = (MemoryDisk::default(), StreamId::generate());
    let mut spool = begin_with(&disk, stream, small_segments());
    for number in 0..100 {
        spool.append(record(&format!("event {number}"))).unwrap();
        spool.sync().unwrap();
    }
    disk.write(&Path::new(DIRECTORY).join("acked"), b"90\n");
    disk.set(Faults {
        capacity: Some(disk.used()),
        ..Faults::default()
    });
    for number in 101..200 {
        assert_eq!(spool.append(record("more")), Some(Seq(number)));
        if spool.sync().is_err() {
            break;
        }
    }
    let held_from = spool.durable().next();
    assert!(held_from > Seq(140), "{held_from}");
    let freed = position::read(&disk, Path::new(DIRECTORY), position::FREED).unwrap();
    assert!(freed.seq() <= Seq(90), "{freed:?}");
    assert_eq!(spool.dropped(), 0);
    disk.write(&Path::new(DIRECTORY).join("acked"), b"140\n");
    spool.sync().unwrap();
    let news = spool.take_news();
    let losses = news.iter().filter(|body| matches!(body, Body::Loss(_)));
    assert_eq!(losses.count(), 0, "{news:?}");
    let last = spool.last_seq();
    assert_eq!(
        again(&disk, stream).append(record("next")),
        Some(last.next())
    );
}

/// S5.
#[test]
fn a_segment_that_is_removed_or_cut_while_it_is_written_is_told_and_left() {
    for cut in [false, true] {
        let dir = in_memory();
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        for _ in 0..3 {
            spool.append(record("before")).unwrap();
        }
        spool.sync().unwrap();
        let path = spool.dir().join("00000000000000000001.seg");
        if cut {
            fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(100)
                .unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        spool.append(record("after")).unwrap();
        assert_eq!(spool.sync().unwrap(), Seq(4));
        let news = spool.take_news();
        let [Body::StreamEvent(event)] = &news[..] else {
            panic!("{news:?}")
        };
        assert_eq!(event.event, "spool_altered");
        assert_eq!(
            numbers(dir.path(), spool.stream_id()),
            (vec![4], vec![(1, Some(3))])
        );
    }
}

#[test]
fn a_segment_is_sealed_when_it_is_old() {
    let dir = in_memory();
    let options = Options {
        segment_age: Duration::ZERO,
        ..Options::default()
    };
    let mut spool = Spool::open(dir.path(), options).unwrap();
    for number in 1..4 {
        spool.append(record("x")).unwrap();
        spool.sync().unwrap();
        assert!(spool.dir().join(format!("{number:020}.seg")).exists());
    }
    assert_eq!(
        numbers(dir.path(), spool.stream_id()),
        (vec![1, 2, 3], vec![])
    );
}

const BACKLOG: &str = "AGENT_RECORDER_TEST_BACKLOG";
const SEGMENTS: u64 = 64;
const SEGMENT_BYTES: u64 = 64 << 20;
/// Limit of the memory for 4 GiB on the disk, bytes.
const MEMORY_BYTES: u64 = 32 << 20;

/// S7: it runs in a process of its own, whose memory is its own.
#[test]
fn four_gibibytes_of_backlog_start_in_constant_memory() {
    if let Some(directory) = std::env::var_os(BACKLOG) {
        return start_on_backlog(Path::new(&directory));
    }
    // The files are sparse, and on a real disk.
    let dir = tempfile::tempdir().unwrap();
    let stream = StreamId::generate();
    let folder = dir.path().join(stream.to_string());
    fs::create_dir(&folder).unwrap();
    let mut chain = Chain::start(stream);
    for number in 0..SEGMENTS {
        // Each segment has one record and a hole; its numbers are those of a full
        // one.
        chain = Chain::at(Seq(number * 100_000), chain.value());
        let mut payload = Vec::new();
        let seq = chain.append(record("x"), &mut payload);
        let mut bytes = SegmentHeader { stream, first: seq }.encode().to_vec();
        bytes.extend_from_slice(&format::frame(seq, &payload));
        bytes.extend_from_slice(&payload);
        let path = folder.join(format!("{:020}.seg", seq.0));
        fs::write(&path, bytes).unwrap();
        if number + 1 < SEGMENTS {
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_len(SEGMENT_BYTES).unwrap();
        }
    }
    Position::open(
        &super::super::disk::Host,
        &folder,
        HEAD,
        &Chain::start(stream),
    )
    .unwrap()
    .set(&chain)
    .unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("spool::tests::retention::four_gibibytes_of_backlog_start_in_constant_memory")
        .env(BACKLOG, dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn start_on_backlog(directory: &Path) {
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let number = line.unwrap().split_whitespace().next().unwrap();
        number.parse::<u64>().unwrap() << 10
    };
    let before = peak();
    let mut spool = Spool::open(directory, Options::default()).unwrap();
    assert_eq!(spool.take_news(), []);
    let last = Seq((SEGMENTS - 1) * 100_000 + 1);
    assert_eq!(spool.durable(), last);
    assert_eq!(spool.append(record("next")), Some(last.next()));
    spool.sync().unwrap();
    let store = Store::open(directory).unwrap();
    let mut cursor = store.durable_cursor(spool.stream_id()).unwrap();
    for seq in [1, 3_000_001, last.0] {
        cursor.seek(Seq(seq)).unwrap();
        let Some(super::Item::Record { seq: found, .. }) = cursor.next().unwrap() else {
            panic!("no record {seq}")
        };
        assert_eq!(found, Seq(seq));
    }
    let grown = peak() - before;
    println!("{grown} bytes more");
    assert!(grown < MEMORY_BYTES, "{grown}");
}
