//! A writer that is killed at any moment, again and again.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::{Item, Options, Spool, Store};
use super::{in_memory, record};
use crate::record::Seq;

const WRITER: &str = "AGENT_RECORDER_TEST_WRITER";
const KILLS: u64 = 200;

/// D1: the writer is killed during writes and syncs, with segments of a few frames.
#[test]
fn a_writer_that_is_killed_200_times_loses_nothing_durable_and_numbers_stay_dense() {
    if let Some(directory) = std::env::var_os(WRITER) {
        return write_for_ever(Path::new(&directory));
    }
    let dir = in_memory();
    let mut last = Seq::default();
    for kill in 0..KILLS {
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("spool::tests::crash::a_writer_that_is_killed_200_times_loses_nothing_durable_and_numbers_stay_dense")
            .env(WRITER, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(writer.stdout.take().unwrap());
        let mut durable = said
            .lines()
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("durable ")?.parse().ok().map(Seq));
        // The numbers are coprime to the writer's rhythm, so that the phase differs
        // each time.
        let wanted = 1 + usize::try_from(kill * 7 % 23).unwrap();
        let reached = durable.by_ref().take(wanted).last().unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();
        // Lines that it wrote after that, before it died, count as well.
        let reached = durable.last().unwrap_or(reached);
        assert!(reached > last, "{reached} after {last}");
        last = reached;
        let store = Store::open(dir.path()).unwrap();
        let streams = store.streams().unwrap();
        assert_eq!(streams.len(), 1);
        assert!(store.head(streams[0]).unwrap().0 >= reached);
    }
    let store = Store::open(dir.path()).unwrap();
    let stream = store.streams().unwrap()[0];
    let mut chain = store.beginning(stream);
    let mut cursor = store.durable_cursor(stream).unwrap();
    while let Some(item) = cursor.next().unwrap() {
        let Item::Record { seq, bytes, .. } = item else {
            panic!("{item:?}")
        };
        assert!(chain.verify(seq, &bytes), "{seq}");
    }
    assert!(chain.seq() >= last);
    println!("{} records", chain.seq());
}

fn write_for_ever(directory: &Path) {
    let options = Options {
        segment_bytes: 3000,
        ..Options::default()
    };
    let mut spool = Spool::open(directory, options).unwrap();
    assert!(spool.take_news().is_empty(), "a kill is no damage");
    for number in 0u64.. {
        spool.append(record(&format!("event {number}"))).unwrap();
        match number % 5 {
            0 => drop(spool.flush()),
            3 => println!("durable {}", spool.sync().unwrap()),
            _ => {}
        }
    }
}
