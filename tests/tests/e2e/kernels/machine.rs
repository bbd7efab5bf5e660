//! Acts on the whole machine while a session runs. Only guests run these tests, by
//! `cargo xtask test` and `cargo xtask vm --matrix`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_recorder::record::proto::Record;
use agent_recorder::spool::{Options, Spool};
use agent_recorder_tests::lab::files::fill;
use agent_recorder_tests::lab::recorder::{Recorder, stored};
use agent_recorder_tests::lab::wait::{LIMIT as LONGEST, until};
use agent_recorder_tests::oracle::compare::{files_under, is_forgiven};
use anyhow::{Context as _, ensure};
use jiff::{SignedDuration, Timestamp};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

const LIMIT: usize = 64;
/// Removed before the clock is set.
const BEFORE: usize = LIMIT - 4;
const FILES: usize = 200;
const YEAR: Duration = Duration::from_hours(365 * 24);

/// Waits until the session has made this file.
fn appears(path: &Path) -> anyhow::Result<()> {
    until(&path.display().to_string(), || path.exists())
}

/// Sets the wall clock a year ahead until it is dropped.
struct YearAhead {
    since: Instant,
    real: Timespec,
}

impl YearAhead {
    fn begin() -> anyhow::Result<Self> {
        let set = Self {
            since: Instant::now(),
            real: clock_gettime(ClockId::Realtime),
        };
        set.to(YEAR)?;
        Ok(set)
    }

    /// Sets the clock ahead of the real time.
    fn to(&self, ahead: Duration) -> anyhow::Result<()> {
        let passed = i64::try_from((self.since.elapsed() + ahead).as_secs())?;
        let time = Timespec {
            tv_sec: self.real.tv_sec + passed,
            ..self.real
        };
        clock_settime(ClockId::Realtime, time).context("set the clock")
    }
}

impl Drop for YearAhead {
    fn drop(&mut self) {
        if let Err(error) = self.to(Duration::ZERO) {
            eprintln!("the clock stays ahead: {error:#}");
        }
    }
}

/// D10.
#[test]
#[ignore = "it sets the machine's clock: guests run it"]
fn a_wall_clock_that_is_set_is_told_of_and_moves_neither_order_nor_window() -> anyhow::Result<()> {
    let recorder = Recorder::with_guard("window = \"2m\"\n")?;
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().join("files");
    fill(&directory, FILES)?;
    let script = format!(
        "cd \"$0\" && rm $(seq 0 {}) && : > ../removed
        until [ -e ../set ]; do sleep 0.1; done; rm $(seq {BEFORE} {})",
        BEFORE - 1,
        FILES - 1
    );
    let mut command = recorder.command("run")?;
    let command = command.args(["--", "sh", "-c", &script]).arg(&directory);
    let mut session = command.spawn()?;
    appears(&scratch.path().join("removed"))?;
    let ahead = YearAhead::begin()?;
    fs::write(scratch.path().join("set"), b"")?;
    let status = session.wait()?;
    drop(ahead);
    // Files that were removed before the clock was set still count.
    ensure!(status.code() == Some(128 + 9), "{status}");
    assert_eq!(FILES - fs::read_dir(&directory)?.count(), LIMIT);
    let told = recorder.told_of_itself("clock_jump")?;
    assert!(
        told.iter()
            .any(|it| it.contains(": +31536000.") || it.contains(": +31535999.")),
        "{told:?}"
    );
    let records = recorder.replay()?;
    let (first, last) = records
        .first()
        .zip(records.last())
        .context("nothing is recorded")?;
    let wall = |record: &serde_json::Value| -> anyhow::Result<Timestamp> {
        Ok(record["time"].as_str().context("it has a time")?.parse()?)
    };
    let boot = |record: &serde_json::Value| record["bootNs"].as_u64().context("it has a boot time");
    let by_wall = wall(last)?.duration_since(wall(first)?);
    let by_boot = Duration::from_nanos(boot(last)? - boot(first)?);
    assert!(by_wall > SignedDuration::try_from(YEAR)?, "{by_wall:?}");
    assert!(by_boot < 2 * LONGEST, "{by_boot:?}");
    // One process removed them in this order.
    let removed = records.iter().filter(|it| it["file"]["op"] == "DELETE");
    assert!(removed.is_sorted_by_key(|it| it["bootNs"].as_u64()));
    Ok(())
}

/// D10: a set clock does not age evidence.
#[test]
#[ignore = "it sets the machine's clock: guests run it"]
fn a_wall_clock_that_is_set_makes_no_record_old_enough_to_go() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = scratch.path().join("spool");
    let options = Options {
        segment_bytes: 2000,
        retain_age: YEAR / 2,
        ..Options::default()
    };
    let mut spool = Spool::open(&directory, options)?;
    for _ in 0..100 {
        spool.append(Record::default());
        // A segment is sealed when what it has is durable.
        spool.sync()?;
    }
    let segments = fs::read_dir(spool.dir())?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    let is_segment = |path: &&PathBuf| path.extension().is_some_and(|it| it == "seg");
    ensure!(
        segments.iter().filter(is_segment).count() > 2,
        "nothing is sealed"
    );
    let ahead = YearAhead::begin()?;
    spool.tidy();
    drop(ahead);
    assert_eq!(spool.take_news(), []);
    assert_eq!(stored(scratch.path())?.len(), 100);
    Ok(())
}

/// Unplugs the machine's second CPU until it is dropped.
struct Unplugged;

impl Unplugged {
    const SWITCH: &str = "/sys/devices/system/cpu/cpu1/online";

    fn begin() -> anyhow::Result<Self> {
        fs::write(Self::SWITCH, "0").context("take the second CPU away")?;
        Ok(Self)
    }
}

impl Drop for Unplugged {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::SWITCH, "1") {
            eprintln!("the second CPU stays away: {error}");
        }
    }
}

/// K25.
#[test]
#[ignore = "it takes a CPU away from the machine: guests run it"]
fn all_is_recorded_while_a_cpu_goes_and_comes_back() -> anyhow::Result<()> {
    // Three times that is below the guard's limit.
    const AT_ONCE: usize = LIMIT / 4;
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let directory = fs::canonicalize(scratch.path())?.join("files");
    fill(&directory, 3 * AT_ONCE)?;
    // Two processes remove, so that both CPUs have work.
    let script = "cd \"$0\"; from=0
        for part in 0 1 2; do
            rm $(seq $from 2 $((from + $1 - 1))) & rm $(seq $((from + 1)) 2 $((from + $1 - 1))); wait
            from=$((from + $1)); : > ../removed$part
            until [ -e ../go$part ]; do sleep 0.1; done
        done";
    let mut command = recorder.command("run")?;
    let command = command.args(["--", "sh", "-c", script]).arg(&directory);
    let mut session = command.arg(AT_ONCE.to_string()).spawn()?;
    let mut unplugged = None;
    for part in 0..3 {
        appears(&scratch.path().join(format!("removed{part}")))?;
        unplugged = match part {
            0 => Some(Unplugged::begin()?),
            _ => None,
        };
        fs::write(scratch.path().join(format!("go{part}")), b"")?;
    }
    drop(unplugged);
    let status = session.wait()?;
    ensure!(status.success(), "{status}");
    let records = recorder.replay()?;
    let removed = files_under(&records, &directory.display().to_string());
    let removed = removed.iter().filter(|it| it["file"]["op"] == "DELETE");
    let mut paths = BTreeSet::new();
    for path in removed.map(|it| &it["file"]["path"]) {
        ensure!(paths.insert(path.to_string()), "{path} is recorded twice");
    }
    let missing = 3 * AT_ONCE - paths.len();
    assert!(is_forgiven(missing, 3 * AT_ONCE, &records), "{missing}");
    Ok(())
}
