//! Damage of every kind: reading ends, reports no more than is missing, and finds the
//! frames after it.

use std::fs;
use std::path::Path;

use super::super::format::{self, HEADER_BYTES};
use super::super::{Item, Options, Replica, Spool, Store};
use super::{frames, in_memory, numbers, record, small_segments, spool_of, told};
use crate::record::{Seq, StreamId};

fn flaws(directory: &Path, stream: StreamId) -> Vec<(u64, &'static str)> {
    let mut cursor = Store::open(directory).unwrap().cursor(stream).unwrap();
    let mut flaws = Vec::new();
    while let Some(item) = cursor.next().unwrap() {
        match item {
            Item::Flaw { at, why } => flaws.push((at.0, why)),
            Item::Damage { last: None, .. } => break,
            _ => {}
        }
    }
    flaws
}

/// S4.
#[test]
fn a_damaged_header_costs_no_record_and_is_told() {
    let dir = in_memory();
    let (stream, folder) = spool_of(dir.path(), 3);
    let path = folder.join("00000000000000000001.seg");
    let whole = fs::read(&path).unwrap();
    for at in 0..HEADER_BYTES {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let found = flaws(dir.path(), stream);
        assert!(matches!(found[..], [(1, _)]), "byte {at}: {found:?}");
    }
    // Such a segment is not appended to, and no number is given twice.
    let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
    assert_eq!(told(&mut spool), []);
    assert_eq!(spool.append(record("next")), Some(Seq(4)));
    spool.sync().unwrap();
    assert!(folder.join("00000000000000000004.seg").exists());
}

/// S4.
#[test]
fn a_number_that_stands_twice_is_told_and_no_range_is_reversed() {
    let dir = in_memory();
    let (stream, folder) = spool_of(dir.path(), 4);
    let path = folder.join("00000000000000000001.seg");
    let (mut whole, starts) = frames(&path);
    let second = whole[starts[1]..starts[2]].to_vec();
    whole.extend_from_slice(&second);
    let far = format::frame(Seq(u64::MAX), b"x");
    whole.extend_from_slice(&far);
    whole.push(b'x');
    fs::write(&path, &whole).unwrap();
    assert_eq!(
        flaws(dir.path(), stream),
        [(2, "its number was there before")]
    );
}

/// S5.
#[test]
fn a_segment_that_is_gone_is_missing_with_its_exact_numbers() {
    let dir = in_memory();
    let (stream, folder) = {
        let mut spool = Spool::open(dir.path(), small_segments()).unwrap();
        for number in 0..100 {
            spool.append(record(&format!("event {number}"))).unwrap();
            spool.sync().unwrap();
        }
        (spool.stream_id(), spool.dir().to_owned())
    };
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.ends_with(".seg"))
        .collect();
    names.sort_unstable();
    let first = |name: &String| name[..20].parse::<u64>().unwrap();
    let (from, to) = (first(&names[1]), first(&names[2]) - 1);
    fs::remove_file(folder.join(&names[1])).unwrap();
    let (good, bad) = numbers(dir.path(), stream);
    assert_eq!(bad, [(from, Some(to))]);
    assert_eq!(good.len() as u64, 100 - (to - from + 1));
    // The whole of it is missing for a reader that begins in it, too.
    let mut cursor = Store::open(dir.path()).unwrap().cursor(stream).unwrap();
    cursor.seek(Seq(from + 1)).unwrap();
    assert!(matches!(
        cursor.next().unwrap(),
        Some(Item::Damage { first, last: Some(last), .. }) if (first.0, last.0) == (from + 1, to)
    ));
}

/// S4: a session can put bytes that look like frames into its records.
#[test]
fn looking_for_the_next_frame_has_an_end() {
    let dir = in_memory();
    let (stream, folder) = spool_of(dir.path(), 3);
    let path = folder.join("00000000000000000001.seg");
    let (whole, starts) = frames(&path);
    let mut claim = format::frame(Seq(2), &vec![b'x'; 1 << 20]);
    claim[4..8].fill(0);
    let mut damaged = whole[..starts[1]].to_vec();
    damaged.push(0xff);
    for _ in 0..(3 << 20) / claim.len() {
        damaged.extend_from_slice(&claim);
    }
    fs::write(&path, &damaged).unwrap();
    let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
    assert_eq!(told(&mut spool), [(2, 3, true)]);
    assert_eq!(spool.append(record("next")), Some(Seq(4)));
    spool.sync().unwrap();
    drop(spool);
    assert_eq!(
        numbers(dir.path(), stream),
        (vec![1, 4], vec![(2, Some(3))])
    );
}

/// S4: each loss has one record, however often the recorder starts.
#[test]
fn a_loss_that_a_record_declares_is_not_told_again() {
    let dir = in_memory();
    let (_, folder) = spool_of(dir.path(), 5);
    let path = folder.join("00000000000000000001.seg");
    let (whole, starts) = frames(&path);
    fs::write(&path, &whole[..starts[3]]).unwrap();
    // The recorder died before its loss record was durable.
    let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
    assert_eq!(told(&mut spool), [(4, 5, true)]);
    drop(spool);
    let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
    for body in spool.take_news() {
        let record = crate::record::proto::Record {
            body: Some(body),
            ..Default::default()
        };
        assert_eq!(spool.append(record), Some(Seq(6)));
    }
    spool.flush();
    drop(spool);
    for next in 7..9 {
        let mut spool = Spool::open(dir.path(), Options::default()).unwrap();
        assert_eq!(told(&mut spool), []);
        assert_eq!(spool.append(record("next")), Some(Seq(next)));
        spool.sync().unwrap();
    }
}

/// Only the head bounds the number that the collector has.
#[test]
fn a_stream_whose_head_cannot_be_read_is_left_and_another_one_begun() {
    let dir = in_memory();
    let (stream, folder) = spool_of(dir.path(), 60);
    for change in [false, true] {
        if change {
            fs::write(folder.join("head"), [0xff; 556]).unwrap();
        } else {
            fs::remove_file(folder.join("head")).unwrap();
        }
        let (other, elsewhere) = spool_of(dir.path(), 1);
        assert_ne!(stream, other);
        assert_eq!(numbers(dir.path(), stream), ((1..=60).collect(), vec![]));
        fs::remove_dir_all(elsewhere).unwrap();
    }
    // A copy's numbers come with its records, so it continues.
    let replica = Replica::open(dir.path(), stream, Options::default()).unwrap();
    assert_eq!(replica.last_seq(), Seq(60));
}
