//! The spool compared with a model: whatever fails, and whenever the recorder or the
//! host dies, durable records stay as they were, and every other record is stored,
//! counted, or declared missing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::disk::Disk;
use super::super::log::{Log, Start};
use super::super::read::{Cursor, Item, beginning};
use super::super::resume::{Role, resume};
use super::super::{Options, Spool};
use super::memory::{Faults, MemoryDisk};
use super::record;
use crate::record::chain::Chain;
use crate::record::{Seq, StreamId, proto};

#[derive(Clone, Debug)]
enum Act {
    Append(u8),
    Flush,
    Sync,
    /// Segments beyond the configured size are removed.
    Tidy,
    Fault(Faults),
    /// The recorder dies, and the host continues.
    Die,
    /// The host dies. The bits decide which unsynced changes reached the disk.
    LosePower(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let fault = prop_oneof![
        (0..6u32).prop_map(|write| Faults {
            write_in: Some(write),
            ..Faults::default()
        }),
        (0..6u32).prop_map(|sync| Faults {
            sync_in: Some(sync),
            ..Faults::default()
        }),
        (0..4000u64).prop_map(|bytes| Faults {
            capacity: Some(bytes),
            ..Faults::default()
        }),
        Just(Faults {
            broken: true,
            ..Faults::default()
        }),
        Just(Faults::default()),
    ];
    prop_oneof![
        4 => (1..5u8).prop_map(Act::Append),
        2 => Just(Act::Flush),
        3 => Just(Act::Sync),
        1 => Just(Act::Tidy),
        2 => fault.prop_map(Act::Fault),
        1 => Just(Act::Die),
        1 => any::<u64>().prop_map(Act::LosePower),
    ]
}

struct Model {
    disk: MemoryDisk,
    stream: StreamId,
    spool: Spool,
    made: u64,
    /// The last record at each number.
    content: BTreeMap<u64, String>,
    /// Records that left the host.
    sent: BTreeMap<u64, String>,
    declared: BTreeSet<u64>,
}

const DIRECTORY: &str = "/stream";

fn options() -> Options {
    Options {
        segment_bytes: 600,
        retain_bytes: 3000,
        ..Options::default()
    }
}

/// The event of a record, which identifies it.
fn name(record: &proto::Record) -> String {
    match &record.body {
        Some(proto::record::Body::StreamEvent(event)) => event.event.clone(),
        Some(proto::record::Body::Loss(loss)) => {
            format!("loss {} to {}", loss.first_seq, loss.last_seq)
        }
        other => panic!("{other:?}"),
    }
}

impl Model {
    fn new() -> Self {
        let (disk, stream) = (MemoryDisk::default(), StreamId::generate());
        let start = Start {
            chain: Chain::start(stream),
            durable: Seq::default(),
            segment: None,
            waiting: None,
        };
        let on: Arc<dyn Disk> = Arc::new(disk.clone());
        let log = Log::new(on, DIRECTORY.into(), stream, options(), None, start).unwrap();
        Self {
            disk,
            stream,
            spool: Spool::new(log, &[]),
            made: 0,
            content: BTreeMap::new(),
            sent: BTreeMap::new(),
            declared: BTreeSet::new(),
        }
    }

    fn run(&mut self, act: &Act) {
        match act {
            Act::Append(count) => {
                for _ in 0..*count {
                    self.made += 1;
                    self.append(record(&format!("event {}", self.made)));
                }
            }
            Act::Flush => drop(self.spool.flush()),
            Act::Sync => {
                let _ = self.spool.sync();
            }
            Act::Tidy => self.spool.tidy(),
            Act::Fault(faults) => self.disk.set(*faults),
            Act::Die => {
                self.disk.set(Faults::default());
                self.resume();
            }
            Act::LosePower(bits) => {
                let mut bits = *bits;
                self.disk.lose_power(|| {
                    bits = bits.rotate_left(1);
                    bits & 1 == 1
                });
                self.resume();
            }
        }
        self.tell();
        self.send();
    }

    fn append(&mut self, record: proto::Record) {
        let name = name(&record);
        let seq = self.spool.append(record).unwrap();
        self.content.insert(seq.0, name);
    }

    fn tell(&mut self) {
        for body in self.spool.take_news() {
            if let proto::record::Body::Loss(loss) = &body {
                assert!(!loss.was_durable, "{loss:?}");
                self.declared.extend(loss.first_seq..=loss.last_seq);
            }
            self.append(proto::Record {
                body: Some(body),
                ..Default::default()
            });
        }
    }

    fn resume(&mut self) {
        let before = self.spool.durable();
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let resumed = resume(
            disk,
            DIRECTORY.into(),
            self.stream,
            options(),
            None,
            Role::Numbers,
        )
        .unwrap();
        self.spool = Spool::new(resumed.log, &resumed.missing);
        let last = self.spool.last_seq();
        assert!(last >= before, "{last} < {before}");
        // Larger numbers were never durable, and can be given again.
        self.content.split_off(&last.next().0);
        self.declared.split_off(&last.next().0);
    }

    /// Sends the durable records, and compares earlier ones with the disk.
    fn send(&mut self) {
        for (seq, name) in self.read(true) {
            let sent = self.sent.entry(seq).or_insert_with(|| name.clone());
            assert_eq!(*sent, name, "number {seq}");
        }
    }

    fn read(&self, durable: bool) -> BTreeMap<u64, String> {
        let mut cursor = Cursor::new(Arc::new(self.disk.clone()), DIRECTORY.into(), self.stream);
        if durable {
            cursor.only_durable();
        }
        let mut read = BTreeMap::new();
        while let Some(item) = cursor.next().unwrap() {
            match item {
                Item::Record { seq, record, .. } => {
                    read.insert(seq.0, name(&record));
                }
                Item::Damage { last: None, .. } => break,
                Item::Damage { .. } => {}
                Item::Flaw { at, why } => panic!("at {at}, {why}"),
            }
        }
        read
    }

    fn finish(mut self) {
        self.disk.set(Faults::default());
        self.spool.sync().unwrap();
        self.tell();
        let last = self.spool.sync().unwrap();
        assert_eq!(last, self.spool.last_seq());
        self.disk.lose_power(|| false);
        let read = self.read(true);
        let freed = beginning(&self.disk, Path::new(DIRECTORY), self.stream).seq();
        assert!(freed <= last);
        for seq in freed.0 + 1..=last.0 {
            match read.get(&seq) {
                Some(name) => assert_eq!(*name, self.content[&seq], "number {seq}"),
                None => assert!(self.declared.contains(&seq), "{seq} is nowhere"),
            }
        }
        assert_eq!(read.keys().last().copied().unwrap_or(0), last.0);
        self.send();
        for seq in self.sent.keys().filter(|seq| **seq > freed.0) {
            assert!(read.contains_key(seq), "{seq} was sent, and is not here");
        }
        assert_eq!(self.spool.dropped(), 0);
    }
}

/// The model below found this.
#[test]
fn a_segment_that_was_begun_in_vain_hides_nothing_when_it_comes_back() {
    let mut model = Model::new();
    let failing = Faults {
        sync_in: Some(0),
        ..Faults::default()
    };
    for act in [
        Act::Append(9),
        Act::Sync,
        Act::Append(1),
        Act::Flush,
        Act::Die,
        Act::Fault(failing),
        Act::Flush,
        Act::LosePower(1 << 63),
        Act::Append(1),
    ] {
        model.run(&act);
    }
    model.finish();
}

/// The model below found this.
#[test]
fn a_segment_begun_again_stands_behind_the_one_begun_before() {
    let mut model = Model::new();
    for act in [
        Act::Append(1),
        Act::Flush,
        Act::Die,
        Act::Flush,
        Act::LosePower(1 << 62),
        Act::Append(1),
    ] {
        model.run(&act);
    }
    model.finish();
}

/// The frames 1 to `count` are durable, and the head that says so is not.
fn durable_before_its_head(count: u8) -> Model {
    let mut model = Model::new();
    let head_fails = Faults {
        sync_in: Some(3),
        ..Faults::default()
    };
    for act in [
        Act::Fault(head_fails),
        Act::Append(count),
        Act::Sync,
        Act::LosePower(0),
        Act::Flush,
    ] {
        model.run(&act);
    }
    model
}

/// The model below found this.
#[test]
fn a_segment_stays_until_the_one_that_replaces_it_is_durable() {
    let mut model = durable_before_its_head(1);
    model.run(&Act::Die);
    model.run(&Act::LosePower(1 << 63));
    model.finish();
}

/// The model below found this.
#[test]
fn frames_that_are_written_anew_and_torn_are_read_where_they_were() {
    let mut model = durable_before_its_head(2);
    model.run(&Act::Append(1));
    model.run(&Act::Flush);
    model.run(&Act::LosePower(1 << 62));
    model.finish();
}

/// The model below found this.
#[test]
fn a_segment_that_was_removed_does_not_come_back_over_later_frames() {
    let mut model = Model::new();
    let failing_in = |syncs| {
        Act::Fault(Faults {
            sync_in: Some(syncs),
            ..Faults::default()
        })
    };
    for act in [
        Act::Append(9),
        Act::Sync,
        failing_in(2),
        Act::Append(1),
        Act::Sync,
        failing_in(2),
        Act::Sync,
        Act::Die,
        Act::Append(1),
    ] {
        model.run(&act);
    }
    model.finish();
}

proptest! {
    /// S1, S3, S6, D1.
    #[test]
    fn what_was_durable_stays_and_the_rest_is_kept_counted_or_told_of(
        acts in prop::collection::vec(act(), 1..40),
    ) {
        let mut model = Model::new();
        for act in &acts {
            model.run(act);
        }
        model.finish();
    }
}
