//! Kills the daemon, and sometimes the collector, at named points while sessions are
//! recorded, again and again: `cargo xtask crash-loop` (D1, N3).
//!
//! Wherever a process was killed, these properties hold at the end: numbers are dense, no
//! acknowledged record is missing, and the collector's copy equals the spool. Sessions
//! outlive their daemon: each session whose command succeeded begins and ends once, and
//! no delete is missing beyond those recorded as lost. Of the last session, which runs
//! alone, each event was delivered or lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use agent_recorder::fault::{OF_COLLECTOR, OF_DAEMON, OF_START};
use agent_recorder::record::StreamId;
use agent_recorder::record::chain::Chain;
use agent_recorder::record::proto::record::Body;
use agent_recorder::record::proto::{FileOp, KindCount, Totals};
use agent_recorder::spool::{Item, Store};
use agent_recorder_tests::lab::child::ended_within;
use agent_recorder_tests::lab::collecting::{Collector, verify};
use agent_recorder_tests::lab::file_systems::{bpffs, in_own_namespace};
use agent_recorder_tests::lab::recorder::binary;
use agent_recorder_tests::lab::wait::wait_for;
use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};

/// Segment size, bytes: so small that crashes meet segments that begin or end.
const SEGMENT_BYTES: &str = "20000";
/// Bound of the hits of a point before the one that kills.
const LATEST: u64 = 12;
/// Most sessions, in sequence, while a point is awaited.
const SESSIONS: usize = 12;
const MOST: Duration = Duration::from_secs(60);
/// Time after the last session for what an idle daemon does.
const LAST: Duration = Duration::from_secs(2);

#[derive(Debug, Parser)]
struct Args {
    /// How often something is killed
    #[arg(long, default_value_t = 200, value_name = "N")]
    crashes: usize,
    /// What the points and their hits are drawn from
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
}

/// Prefix of the points that a daemon passes only with programs of its own.
const OF_PROGRAMS: &str = "programs-";
/// The least limit of the guard: no session here meets it.
const LIMIT: usize = 64;
/// The last session's name.
const FINAL: &str = "final";
/// Files that a session makes and deletes.
const FILES: u64 = 8;
/// The kind of their deletes, as losses name it.
const DELETE: &str = "delete";
const PACE: Duration = Duration::from_millis(20);

/// The account of a session in the records.
#[derive(Debug, Default)]
struct Seen {
    name: String,
    starts: usize,
    ends: usize,
    deletes: u64,
    totals: Totals,
}

impl Seen {
    fn take(&mut self, body: Option<Body>) -> Result<()> {
        match body {
            Some(Body::SessionStart(start)) => {
                ensure!(self.starts == 0, "{} begins twice", self.name);
                self.starts += 1;
                self.name = start.name;
            }
            Some(Body::SessionEnd(end)) => {
                self.ends += 1;
                self.totals = end.totals.context("an end without sums")?;
            }
            Some(Body::File(file)) if file.op() == FileOp::Delete && file.error == 0 => {
                self.deletes += 1;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether each produced event was delivered or lost. This holds for a session that ran
/// alone: an event in a ring while another session runs is neither.
fn is_balanced(totals: &Totals) -> bool {
    totals.produced.iter().all(|made| {
        let got = count_of(&totals.delivered, &made.kind);
        made.count == got + count_of(&totals.lost, &made.kind)
    })
}

fn count_of(kinds: &[KindCount], kind: &str) -> u64 {
    let of_kind = kinds.iter().filter(|it| it.kind == kind);
    of_kind.map(|it| it.count).sum()
}

/// xorshift64 (Marsaglia, 2003).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The directories and processes of a run.
struct Place {
    state: PathBuf,
    store: PathBuf,
    /// Sessions that are under way.
    running: Vec<(String, Child)>,
    /// Names of sessions whose command succeeded.
    done: BTreeSet<String>,
    /// The collector's address, which stays the same.
    address: String,
    /// How far each copy of a stream was read after the last crash: durable records stay.
    /// The end reads all of them again.
    read: BTreeMap<(PathBuf, StreamId), Chain>,
}

fn main() -> Result<ExitCode> {
    // The namespace contains the bpffs.
    in_own_namespace(crash_over_and_over)
}

fn crash_over_and_over() -> Result<ExitCode> {
    let args = Args::parse();
    let scratch = tempfile::tempdir()?;
    let pins = bpffs(&scratch.path().join("pins"))?;
    let mut place = Place {
        state: scratch.path().join("state"),
        store: scratch.path().join("store"),
        running: Vec::new(),
        done: BTreeSet::new(),
        address: "127.0.0.1:0".to_owned(),
        read: BTreeMap::new(),
    };
    fs::create_dir(&place.state)?;
    let mut collector = Collector::start(&place.address, &place.store, &[])?;
    place.address = collector.address.to_string();
    let configuration = format!(
        "[recorder]\npins = \"{}/recorder\"\ncanary = \"0s\"\n[stream]\ncollector = \"http://{}\"\n",
        pins.directory.display(),
        place.address
    );
    place.configure(&configuration, 0)?;
    let points = [OF_DAEMON, OF_COLLECTOR].concat();
    let mut draw = Draw(args.seed.max(1));
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unmet = 0;
    let begun = Instant::now();
    for crash in 0..args.crashes {
        let point = points[draw.below(points.len() as u64) as usize];
        let latest = if OF_START.contains(&point) { 1 } else { LATEST };
        let fault = format!("{point}={}*off->return", draw.below(latest));
        if point.starts_with(OF_PROGRAMS) {
            place.configure(&configuration, crash)?;
        }
        let is_collectors = OF_COLLECTOR.contains(&point);
        if is_collectors {
            collector.kill()?;
            collector = place.collector(Some(&fault))?;
        }
        let mut daemon = place.daemon((!is_collectors).then_some(&fault))?;
        let is_met = place.load(crash, |limit| {
            if is_collectors {
                collector.ends_within(limit)
            } else {
                ended_within(&daemon, limit)
            }
        })?;
        if is_met {
            *met.entry(point).or_default() += 1;
        } else {
            unmet += 1;
        }
        // A daemon that did not meet its point is killed wherever it is.
        let _ = daemon.kill();
        let mut ended = daemon.wait()?;
        if is_collectors {
            ended = collector.kill()?;
            collector = place.collector(None)?;
        }
        ensure!(
            ended.signal() == Some(Signal::KILL.as_raw()),
            "{fault}: it ended otherwise: {ended}"
        );
        place.check_acknowledged()?;
        eprintln!(
            "crash_loop: {} of {}: {fault}{}",
            crash + 1,
            args.crashes,
            if is_met { "" } else { ", not met: killed" }
        );
    }
    let took = begun.elapsed();
    let (streams, records) = place.settle()?;
    collector.stop()?;
    let told = place.check_sessions()?;
    let sessions = place.done.len();
    println!("| killed at | times |\n| --- | --: |");
    for point in points {
        println!("| {point} | {} |", met.get(point).copied().unwrap_or(0));
    }
    println!("| anywhere | {unmet} |");
    println!(
        "\n{} crashes in {} s, seed {}: {records} records of {streams} stream(s), numbers dense, none of those acknowledged missing, the collector's copy equal. {sessions} sessions, each with one beginning and one end; made = delivered + lost in all; {told}.",
        args.crashes,
        took.as_secs(),
        args.seed
    );
    Ok(ExitCode::SUCCESS)
}

impl Place {
    /// The guard's limit is part of the programs: with another limit, the next daemon
    /// loads its own, and the sessions move to them.
    fn configure(&self, configuration: &str, number: usize) -> Result<()> {
        let limit = format!("[guard]\nlimit = {}\n", LIMIT + number);
        let file = self.state.join("config.toml");
        Ok(fs::write(file, format!("{configuration}{limit}"))?)
    }

    fn command(&self, name: &str) -> Result<Command> {
        let mut command = Command::new(binary()?);
        command
            .arg(name)
            .arg("--config")
            .arg(self.state.join("config.toml"))
            .arg("--state-dir")
            .arg(&self.state);
        Ok(command)
    }

    /// Starts a daemon and waits until its socket is there, or until it has ended.
    fn daemon(&self, fault: Option<&String>) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.state.join("daemon.log"))?;
        let socket = self.state.join("control.sock");
        let _ = fs::remove_file(&socket);
        let mut command = self.command("daemon")?;
        command
            .env("AGENT_RECORDER_SEGMENT_BYTES", SEGMENT_BYTES)
            .envs(fault.map(|fault| ("FAILPOINTS", fault)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let daemon = command.spawn().context("start the daemon")?;
        let deadline = Instant::now() + MOST;
        while !socket.exists() && !ended_within(&daemon, Duration::from_millis(20))? {
            ensure!(Instant::now() < deadline, "the daemon is not ready");
        }
        Ok(daemon)
    }

    fn collector(&self, fault: Option<&String>) -> Result<Collector> {
        let mut command = Command::new(binary()?);
        command.envs(fault.map(|fault| ("FAILPOINTS", fault)));
        Collector::start_by(command, &self.address, &self.store, &[])
    }

    /// Runs sessions until the faulty process has ended, and returns whether it did.
    fn load(
        &mut self,
        crash: usize,
        ends_within: impl Fn(Duration) -> Result<bool>,
    ) -> Result<bool> {
        // The sessions of the previous daemon have found this one.
        if !ends_within(Duration::ZERO)? {
            self.collect(&ends_within)?;
        }
        for session in 0..SESSIONS {
            // `run` without a daemon would record into a stream of its own.
            if ends_within(Duration::ZERO)? {
                return Ok(true);
            }
            self.begin(format!("{crash}.{session}"))?;
            self.collect(&ends_within)?;
        }
        ends_within(LAST)
    }

    fn begin(&mut self, name: String) -> Result<()> {
        let script = r#"d=$(mktemp -d); for n in 1 2 3 4 5 6 7 8; do : > "$d/$n"; cat /etc/hostname > /dev/null; done; rm -r "$d""#;
        let run = self
            .command("run")?
            .args(["--name", &name, "--", "sh", "-c", script])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.running.push((name, run));
        Ok(())
    }

    /// Waits for the running sessions until the faulty process ends.
    fn collect(&mut self, ends_within: &impl Fn(Duration) -> Result<bool>) -> Result<()> {
        for (name, mut run) in std::mem::take(&mut self.running) {
            while !ended_within(&run, PACE)? && !ends_within(Duration::ZERO)? {}
            match run.try_wait()? {
                Some(status) if status.success() => drop(self.done.insert(name)),
                // The daemon died before the session began.
                Some(_) => {}
                None => self.running.push((name, run)),
            }
        }
        Ok(())
    }

    /// Checks every completed session in the records, and returns a summary of missing
    /// and lost deletes.
    fn check_sessions(&self) -> Result<String> {
        let mut sessions: BTreeMap<Vec<u8>, Seen> = BTreeMap::new();
        let mut lost = 0;
        let store = Store::open(&self.state.join("spool"))?;
        for stream in store.streams()? {
            let mut cursor = store.cursor(stream)?;
            while let Some(Item::Record { record, .. }) = cursor.next()? {
                let seen = sessions.entry(record.session_id.clone()).or_default();
                match record.body {
                    Some(Body::Loss(loss)) => lost += count_of(&loss.kinds, DELETE),
                    body => seen.take(body)?,
                }
            }
        }
        ensure!(self.done.contains(FINAL), "the last session failed");
        let mut missing = 0;
        for name in &self.done {
            let mut named = sessions.values().filter(|seen| seen.name == *name);
            let seen = named
                .next()
                .with_context(|| format!("{name} is in no record"))?;
            ensure!(named.next().is_none(), "{name} is two sessions");
            ensure!(seen.ends == 1, "{name} ends {} times", seen.ends);
            ensure!(seen.deletes <= FILES, "{name}: {} deletes", seen.deletes);
            missing += FILES - seen.deletes;
            ensure!(
                name != FINAL || is_balanced(&seen.totals),
                "made is not delivered and lost: {:?}",
                seen.totals
            );
        }
        let astray: Vec<_> = sessions
            .values()
            .filter(|seen| seen.deletes > 0 && !self.done.contains(&seen.name))
            .map(|seen| (&seen.name, seen.deletes))
            .collect();
        ensure!(
            missing <= lost,
            "{missing} deletes are missing, {lost} told as lost; those of others: {astray:?}"
        );
        // Begun behind a checkpoint, with its first records lost.
        let found = |seen: &&Seen| seen.starts > 0 && seen.name.is_empty();
        Ok(format!(
            "of {} deletes in them {missing} are missing, {lost} were told as lost; beside them {} sessions were found without their names",
            self.done.len() as u64 * FILES,
            sessions.values().filter(found).count()
        ))
    }

    /// Checks that the spool and the collector's store have every acknowledged record.
    fn check_acknowledged(&mut self) -> Result<()> {
        let spool = self.state.join("spool");
        for stream in streams(&spool)? {
            let kept = fs::read_to_string(spool.join(stream.to_string()).join("acked"))
                .unwrap_or_default();
            let Ok(acknowledged) = kept.trim().parse::<u64>() else {
                continue;
            };
            for place in [&spool, &self.store] {
                let chain = self.read.entry((place.clone(), stream));
                let chain = chain.or_insert_with(|| Chain::start(stream));
                read_on(place, chain, stream, |_| {})?;
                ensure!(
                    chain.seq().0 >= acknowledged,
                    "{}: {} of {acknowledged} acknowledged records of {stream}",
                    place.display(),
                    chain.seq()
                );
            }
        }
        Ok(())
    }

    /// Has a daemon without faults send everything, and returns the number of streams and records.
    fn settle(&mut self) -> Result<(usize, usize)> {
        let mut daemon = self.daemon(None)?;
        self.collect(&|limit| ended_within(&daemon, limit))?;
        // The last session runs alone.
        self.begin(FINAL.to_owned())?;
        self.collect(&|limit| ended_within(&daemon, limit))?;
        let spool = self.state.join("spool");
        let result = wait_for("the collector to have all", || {
            let mut records = 0;
            let streams = streams(&spool)?;
            for stream in &streams {
                let ours = held(&spool, *stream)?;
                let theirs = held(&self.store, *stream).unwrap_or_default();
                if ours != theirs {
                    return Ok(None);
                }
                records += ours.len();
            }
            Ok(Some((streams.len(), records)))
        });
        kill_process(Pid::from_child(&daemon), Signal::TERM)?;
        let status = daemon.wait()?;
        let result = result?;
        ensure!(status.success(), "the last daemon: {status}");
        let left = self.left_behind()?;
        ensure!(left.is_empty(), "processes were left behind: {left:?}");
        let (status, said) = verify(&self.store)?;
        // Status 3: each crash is recorded with its possible loss.
        ensure!(matches!(status, Some(0 | 3)), "verify: {status:?}: {said}");
        Ok(result)
    }
}

impl Place {
    /// Processes that still work for a session here.
    fn left_behind(&self) -> Result<Vec<String>> {
        let state = self.state.display().to_string();
        let processes = fs::read_dir("/proc")?.flatten();
        // A process that ends meanwhile has no command line.
        Ok(processes
            .filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok())
            .filter(|line| line.contains(&state))
            .collect())
    }
}

fn streams(directory: &Path) -> Result<Vec<StreamId>> {
    Ok(Store::open(directory)?.streams()?)
}

/// The records of a stream.
fn held(directory: &Path, stream: StreamId) -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    read_on(directory, &mut Chain::start(stream), stream, |bytes| {
        all.push(bytes);
    })?;
    Ok(all)
}

/// Verifies the records of a stream that follow those of a chain.
fn read_on(
    directory: &Path,
    chain: &mut Chain,
    stream: StreamId,
    mut each: impl FnMut(Vec<u8>),
) -> Result<()> {
    let mut cursor = Store::open(directory)?.durable_cursor(stream)?;
    cursor.seek(chain.seq().next())?;
    while let Some(item) = cursor.next()? {
        let Item::Record { seq, bytes, .. } = item else {
            bail!("damaged: {item:?}");
        };
        let last = chain.seq();
        ensure!(seq == last.next(), "{seq} follows {last}");
        ensure!(
            chain.verify(seq, &bytes),
            "{seq} does not go on the one before"
        );
        each(bytes);
    }
    Ok(())
}
