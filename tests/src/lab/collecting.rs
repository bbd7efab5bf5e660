//! Collectors under test, spools to send to them, and the records that each stored.

use std::ffi::OsString;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agent_recorder::identity::{Files, HostKeys};
use agent_recorder::record::{Seq, StreamId, proto};
use agent_recorder::spool::{Item, Options, Spool, Store};
use agent_recorder::stream::{self, Stream};
use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::lab::child::ended_within;
use crate::lab::recorder::binary;
use crate::lab::wait::{LIMIT, wait_for};

/// A collector in a process of its own.
#[derive(Debug)]
pub struct Collector {
    process: Child,
    /// Where it listens.
    pub address: SocketAddr,
    log: PathBuf,
    _place: TempDir,
}

impl Collector {
    /// Starts one at `address`, which may have port 0 for any port.
    ///
    /// # Errors
    ///
    /// It ends, or logs no address.
    pub fn start(address: &str, store: &Path, options: &[&str]) -> anyhow::Result<Self> {
        Self::start_by(Command::new(binary()?), address, store, options)
    }

    /// As [`Collector::start`], with a command that receives the binary's arguments.
    ///
    /// # Errors
    ///
    /// See [`Collector::start`].
    pub fn start_by(
        mut command: Command,
        address: &str,
        store: &Path,
        options: &[&str],
    ) -> anyhow::Result<Self> {
        let place = tempfile::tempdir()?;
        let log = place.path().join("log");
        let output = File::create(&log)?;
        let process = command
            .args(["collect", "--listen", address, "--store"])
            .arg(store)
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .context("start the collector")?;
        let address = wait_for("the collector to listen", || {
            let said = std::fs::read_to_string(&log)?;
            ensure!(!ended_within(&process, Duration::ZERO)?, "it ended: {said}");
            let line = said.lines().find(|line| line.contains("collecting at"));
            Ok(line.and_then(|line| line.rsplit(' ').next()?.parse().ok()))
        })?;
        Ok(Self {
            process,
            address,
            log,
            _place: place,
        })
    }

    /// Its log so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The most memory that it ever had resident, bytes.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        peak_memory(self.pid())
    }

    /// Whether it ends within `limit`.
    ///
    /// # Errors
    ///
    /// It was waited for already.
    pub fn ends_within(&self, limit: Duration) -> anyhow::Result<bool> {
        ended_within(&self.process, limit)
    }

    /// Kills it if it has not ended, and returns its exit status.
    ///
    /// # Errors
    ///
    /// The signal is refused.
    pub fn kill(mut self) -> anyhow::Result<ExitStatus> {
        self.process.kill()?;
        Ok(self.process.wait()?)
    }

    /// Sends SIGTERM and waits for its end.
    ///
    /// # Errors
    ///
    /// It survives SIGTERM, or fails.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        ensure!(ended_within(&self.process, LIMIT)?, "it outlives SIGTERM");
        ensure!(self.process.wait()?.success(), "{}", self.said());
        Ok(())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It fails only when the collector has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// VmHWM of a process (proc_pid_status(5)), bytes.
///
/// # Errors
///
/// It has ended.
pub fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes: u64 = status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .strip_suffix("kB")?
                .trim()
                .parse()
                .ok()
        })
        .context("no VmHWM")?;
    Ok(kilobytes << 10)
}

/// A host's spool, filled by the test.
#[derive(Debug)]
pub struct Host {
    state: TempDir,
    spool: Spool,
}

impl Host {
    /// A spool with `records` records of `bytes` bytes each.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn new(records: usize, bytes: usize) -> anyhow::Result<Self> {
        let state = tempfile::tempdir()?;
        let spool = Spool::open(&state.path().join("spool"), Options::default())?;
        let mut host = Self { state, spool };
        host.record(records, bytes)?;
        Ok(host)
    }

    /// Appends more records and makes them durable.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn record(&mut self, records: usize, bytes: usize) -> anyhow::Result<()> {
        for number in 0..records {
            self.spool
                .append(record(number, bytes))
                .context("the spool has no room")?;
        }
        self.spool.sync()?;
        Ok(())
    }

    /// The stream's id.
    pub fn stream(&self) -> StreamId {
        self.spool.stream_id()
    }

    /// The last record's number.
    pub fn last(&self) -> Seq {
        self.spool.last_seq()
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// The folder of streams.
    pub fn spool(&self) -> PathBuf {
        self.state.path().join("spool")
    }

    /// Sends in the running runtime; with TLS where keys are named.
    pub fn send(&self, collector: &str, keys: Option<&Path>) -> Stream {
        let stream = Stream::start(stream::Options {
            collector: collector.to_owned(),
            keys: keys.map(|keys| Arc::new(HostKeys::new(Files::of_host(keys)))),
            spool: self.spool(),
            stream: self.stream(),
        });
        self.grown(&stream);
        stream
    }

    /// Reports the spool's last record to a stream.
    pub fn grown(&self, stream: &Stream) {
        stream.grown(stream::Progress {
            last: self.last(),
            lost: 0,
        });
    }

    /// Waits until every record is acknowledged.
    ///
    /// # Errors
    ///
    /// The last one does not come in time.
    pub fn wait_until_sent(&self, stream: &Stream) -> anyhow::Result<()> {
        let last = self.last();
        wait_for("the last acknowledgement", || {
            Ok((stream.acknowledged() >= last).then_some(()))
        })
        .with_context(|| format!("{:?} of {last}", stream.flow()))
    }
}

/// One record; its content compresses badly, as file names do.
pub fn record(number: usize, bytes: usize) -> proto::Record {
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let detail: String = std::iter::repeat_with(|| {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'!' + (state % 90) as u8)
    })
    .take(bytes)
    .collect();
    let event = proto::StreamEvent {
        event: "test".to_owned(),
        detail,
        ..Default::default()
    };
    proto::Record {
        body: Some(proto::record::Body::StreamEvent(event)),
        ..Default::default()
    }
}

/// Every stored record of a stream, with its number; damage is an error.
///
/// # Errors
///
/// There is damage, or no such stream.
pub fn stored(directory: &Path, stream: StreamId) -> anyhow::Result<Vec<(Seq, Vec<u8>)>> {
    let mut cursor = Store::open(directory)?.cursor(stream)?;
    let mut all = Vec::new();
    while let Some(item) = cursor.next()? {
        let Item::Record { seq, bytes, .. } = item else {
            bail!("damaged: {item:?}");
        };
        all.push((seq, bytes));
    }
    Ok(all)
}

/// Exit status and output of `verify --store`.
///
/// # Errors
///
/// It cannot be run.
pub fn verify(store: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let output = Command::new(binary()?)
        .args([OsString::from("verify"), "--store".into(), store.into()])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.code(), said))
}
