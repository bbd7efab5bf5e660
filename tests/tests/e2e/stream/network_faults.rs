//! Lines that are slow, cut or silent, and a hundred daemons at once: nothing
//! is lost, and both sides stay small.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use agent_recorder::identity::{make_ca, make_collector, make_host};
use agent_recorder::record::Seq;
use agent_recorder::stream::Stream;
use agent_recorder_tests::lab::cable::{Cable, FAR};
use agent_recorder_tests::lab::collecting::{Collector, Host, peak_memory, stored};
use agent_recorder_tests::lab::line::Line;
use agent_recorder_tests::lab::packets::Quality;
use agent_recorder_tests::lab::recorder::binary;
use agent_recorder_tests::lab::wait::wait_for;
use anyhow::{Context as _, anyhow, ensure};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Memory of a collector with a hundred active streams, bytes: some hundred kB each, and
/// what they share.
const COLLECTOR_MEMORY: u64 = 256 << 20;
/// Memory of a hundred senders with their spools' buffers, and of the test itself, bytes.
const SENDERS_MEMORY: u64 = 256 << 20;
/// Most bytes on their way: four whole batches.
const WINDOW: usize = 4 << 20;

fn assert_equal(store: &Path, host: &Host) -> anyhow::Result<()> {
    let theirs = stored(store, host.stream())?;
    ensure!(
        theirs == stored(&host.spool(), host.stream())?,
        "the copy differs"
    );
    Ok(())
}

/// N2: 1 KiB/s. The window narrows until answers come in time, and widens again.
#[test]
fn a_line_of_1_kib_a_second_moves() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let collector = Collector::start("127.0.0.1:0", store.path(), &[])?;
    let line = Line::to(collector.address, 1 << 10, Vec::new())?;
    let host = Host::new(2000, 200)?;
    let stream = host.send(&format!("http://{}", line.address), None);
    let mut most = 0;
    let acknowledged = wait_for("an acknowledgement by the slow line", || {
        let flow = stream.flow();
        most = most.max(flow.bytes);
        Ok((flow.acknowledged > Seq(0)).then_some(flow.acknowledged))
    })?;
    println!(
        "{acknowledged} acknowledged on connection {}, {most} bytes on their way at most",
        line.connections()
    );
    assert!(acknowledged < host.last());
    line.quicken();
    host.wait_until_sent(&stream)?;
    assert_equal(store.path(), &host)
}

/// N2: a reset in mid-batch, again and again.
#[test]
fn resets_in_mid_batch_lose_and_double_nothing() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let collector = Collector::start("127.0.0.1:0", store.path(), &[])?;
    let budgets = vec![100, 3000, 50_000, 90_000, 200_000, 400_000];
    let resets = budgets.len();
    let line = Line::to(collector.address, 0, budgets)?;
    let host = Host::new(8000, 200)?;
    let stream = host.send(&format!("http://{}", line.address), None);
    host.wait_until_sent(&stream)?;
    assert!(
        line.connections() > resets,
        "{} connections",
        line.connections()
    );
    assert_equal(store.path(), &host)
}

/// N15: memory of both sides is printed, and bounded.
#[test]
fn a_hundred_daemons_come_back_at_once() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let mut hosts = (0..100)
        .map(|_| Host::new(200, 200))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let collector = Collector::start("127.0.0.1:0", store.path(), &[])?;
    let address = collector.address.to_string();
    let url = format!("http://{address}");
    let streams: Vec<_> = hosts.iter().map(|host| host.send(&url, None)).collect();
    for (host, stream) in hosts.iter().zip(&streams) {
        host.wait_until_sent(stream)?;
    }
    collector.kill()?;
    for (host, stream) in hosts.iter_mut().zip(&streams) {
        host.record(2000, 200)?;
        host.grown(stream);
    }
    wait_for("all to notice", || {
        Ok(streams
            .iter()
            .all(|stream| !stream.flow().connected)
            .then_some(()))
    })?;
    let collector = Collector::start(&address, store.path(), &[])?;
    for (host, stream) in hosts.iter().zip(&streams) {
        host.wait_until_sent(stream)?;
    }
    let (theirs, ours) = (collector.peak_memory()?, peak_memory(std::process::id())?);
    println!(
        "peak memory: collector {} MiB, a hundred senders and their spools {} MiB",
        theirs >> 20,
        ours >> 20
    );
    for host in &hosts {
        assert_equal(store.path(), host)?;
    }
    assert!(theirs < COLLECTOR_MEMORY && ours < SENDERS_MEMORY);
    Ok(())
}

fn keys(place: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (ca, collector, host) = (place.join("ca"), place.join("c"), place.join("h"));
    make_ca(&ca, 1)?;
    make_collector(&ca, &collector, &[FAR.to_owned()], 1)?;
    make_host(&ca, &host, &"a-host".parse()?, 1)?;
    Ok((collector, host))
}

/// A collector at the far end, and a daemon's stream to it that is up to date.
struct Ends {
    // Fields are dropped in this order.
    stream: Stream,
    _runtime: Runtime,
    host: Host,
    _collector: Collector,
    cable: Cable,
    place: TempDir,
}

impl Ends {
    fn of(cable: Cable) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let (collector_keys, host_keys) = keys(place.path())?;
        let mut command = cable.enter();
        command.arg(binary()?);
        let collector_keys = collector_keys.to_str().context("a path")?;
        let collector = Collector::start_by(
            command,
            &format!("{FAR}:0"),
            &place.path().join("store"),
            &["--keys", collector_keys],
        )?;
        // Its threads are started here, and so are in this namespace.
        let runtime = Runtime::new()?;
        let inside = runtime.enter();
        let host = Host::new(500, 200)?;
        let stream = host.send(&format!("https://{}", collector.address), Some(&host_keys));
        host.wait_until_sent(&stream)?;
        drop(inside);
        Ok(Self {
            stream,
            _runtime: runtime,
            host,
            _collector: collector,
            cable,
            place,
        })
    }

    fn store(&self) -> PathBuf {
        self.place.path().join("store")
    }

    fn record(&mut self, records: usize) -> anyhow::Result<()> {
        self.host.record(records, 200)?;
        self.host.grown(&self.stream);
        Ok(())
    }

    fn all_arrives(&self) -> anyhow::Result<()> {
        self.host.wait_until_sent(&self.stream)?;
        assert_equal(&self.store(), &self.host)
    }
}

/// Runs a test in a thread of its own, with which its namespace ends.
fn isolated(test: fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    thread::spawn(test)
        .join()
        .map_err(|_| anyhow!("the thread panicked"))?
}

/// N2: packets are dropped between two network namespaces, without an error on either side.
#[test]
fn a_half_open_connection_is_noticed_on_both_sides() -> anyhow::Result<()> {
    isolated(|| {
        let mut ends = Ends::of(Cable::lay()?)?;
        ends.cable.swallow()?;
        let before = ends.host.last();
        ends.record(500)?;
        let swallowed = Instant::now();
        wait_for("the daemon to notice", || {
            Ok((!ends.stream.flow().connected).then_some(()))
        })?;
        println!("the daemon noticed after {:?}", swallowed.elapsed());
        assert_eq!(ends.stream.acknowledged(), before);
        let stream = ends.host.stream().to_string();
        let about = ends.store().join(stream).join("about.json");
        wait_for("the collector to notice", || {
            let about = std::fs::read_to_string(&about)?;
            Ok(about.contains("\"connected\": false").then_some(()))
        })?;
        println!("the collector noticed after {:?}", swallowed.elapsed());
        ends.cable.mend()?;
        ends.all_arrives()
    })
}

/// N2: a tenth of the packets is lost, and later ones overtake.
#[test]
fn packets_that_are_lost_and_overtaken_lose_and_double_no_record() -> anyhow::Result<()> {
    isolated(|| {
        let mut ends = Ends::of(Cable::lay_packets()?)?;
        ends.cable.set(Quality {
            lost: 10,
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(10),
        });
        ends.record(3000)?;
        ends.all_arrives()?;
        let carried = ends.cable.carried();
        println!("{carried:?}");
        assert!(carried.lost > 0 && carried.overtaken > 0, "{carried:?}");
        Ok(())
    })
}

/// N2: 30 % of the packets are lost, and the rest take 2 s.
#[test]
fn a_line_that_is_nearly_dead_delays_records_and_loses_none() -> anyhow::Result<()> {
    isolated(|| {
        let mut ends = Ends::of(Cable::lay_packets()?)?;
        let before = ends.cable.carried();
        ends.cable.set(Quality {
            lost: 30,
            delay: Duration::from_secs(2),
            jitter: Duration::ZERO,
        });
        let mut most = 0;
        wait_for("packets to be lost", || {
            // The recorder's side continues.
            ends.record(20)?;
            most = most.max(ends.stream.flow().bytes);
            let carried = ends.cable.carried();
            let is_tried = carried.lost >= 5 && carried.arrived >= before.arrived + 10;
            Ok(is_tried.then_some(()))
        })?;
        println!(
            "{most} bytes on their way at most, {:?}",
            ends.cable.carried()
        );
        assert!(most <= WINDOW);
        ends.cable.set(Quality::default());
        ends.all_arrives()
    })
}
