//! A collector that comes back after hours: `cargo xtask backlog` (N1, S7).
//!
//! A host's spool is filled with the records of such an absence. Then a collector
//! starts, and the host continues to record while the backlog is sent. At the end
//! both have the same records.
//! Not here: kernel programs; the records are made up.

use std::thread;
use std::time::{Duration, Instant};

use agent_recorder::spool::Store;
use agent_recorder_tests::lab::collecting::{Collector, Host, peak_memory, verify};
use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use tokio::runtime::Runtime;

/// Length of a record's text; with number, times and chain value about 90 bytes are stored.
const BYTES: usize = 20;
/// Records that are made durable together while the spool is filled.
const AT_ONCE: usize = 50_000;
/// Interval at which the host records and checks its progress.
const PACE: Duration = Duration::from_millis(100);

#[derive(Debug, Parser)]
struct Args {
    /// Records that nobody has collected yet
    #[arg(long, default_value_t = 43_200_000, value_name = "N")]
    records: usize,
    /// Records a second while they are collected
    #[arg(long, default_value_t = 2_000, value_name = "N")]
    rate: usize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let place = tempfile::tempdir()?;
    let store = place.path().join("store");
    let begun = Instant::now();
    let mut host = Host::new(0, 0)?;
    let mut left = args.records;
    while left > 0 {
        let some = left.min(AT_ONCE);
        host.record(some, BYTES)?;
        left -= some;
    }
    println!(
        "{} records were recorded in {:.0} s",
        args.records,
        begun.elapsed().as_secs_f64()
    );
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let collector = Collector::start("127.0.0.1:0", &store, &[])?;
    let begun = Instant::now();
    let stream = host.send(&format!("http://{}", collector.address), None);
    let mut first = None;
    while stream.acknowledged() < host.last() {
        if stream.acknowledged().0 > 0 {
            first.get_or_insert_with(|| begun.elapsed());
        }
        let is_behind = host.last().0 - stream.acknowledged().0 > args.rate as u64;
        if is_behind {
            host.record(args.rate / 10, BYTES)?;
            host.grown(&stream);
        }
        thread::sleep(PACE);
    }
    let took = begun.elapsed();
    let all = host.last().0;
    println!(
        "the first were acknowledged after {:.2} s, all {all} after {:.0} s: {:.0} a second beside {} new ones",
        first.unwrap_or(took).as_secs_f64(),
        took.as_secs_f64(),
        all as f64 / took.as_secs_f64(),
        args.rate
    );
    println!(
        "peak memory: collector {} MiB, host {} MiB",
        collector.peak_memory()? >> 20,
        peak_memory(std::process::id())? >> 20
    );
    drop(stream);
    collector.stop()?;
    let head = |directory| -> Result<_> {
        let head = Store::open(directory)?.head(host.stream());
        head.context("nothing is durable")
    };
    ensure!(head(&host.spool())? == head(&store)?, "the copy differs");
    let (status, said) = verify(&store)?;
    ensure!(status == Some(0), "verify: {status:?}: {said}");
    println!("the copy ends in the same chain value, and is intact");
    Ok(())
}
