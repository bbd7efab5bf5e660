//! The stream: a collector holds what the spool holds, also after it was away.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_recorder::record::Seq;
use agent_recorder::spool::{Item, Store};
use agent_recorder_tests::child::ended_within;
use agent_recorder_tests::daemon::Daemon;
use agent_recorder_tests::recorder::binary;
use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// A collector that is away for some seconds is tried again after at most 30.
const LIMIT: Duration = Duration::from_secs(60);
const PACE: Duration = Duration::from_millis(50);

struct Collector {
    process: Child,
    address: SocketAddr,
}

impl Collector {
    fn start(address: SocketAddr, store: &Path) -> anyhow::Result<Self> {
        let mut process = Command::new(binary()?)
            .args(["collect", "--listen", &address.to_string(), "--store"])
            .arg(store)
            .stderr(Stdio::piped())
            .spawn()?;
        let said = process.stderr.take().context("its standard error")?;
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        let address = line
            .trim()
            .rsplit(' ')
            .next()
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("the collector says: {line}"))?;
        Ok(Self { process, address })
    }

    /// Ends it without giving it time for anything.
    fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }

    fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        ensure!(ended_within(&self.process, LIMIT)?, "it outlives SIGTERM");
        ensure!(self.process.wait()?.success());
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

/// Every stored record of every stream, with its number.
fn stored(directory: &Path) -> anyhow::Result<Vec<(String, Seq, Vec<u8>)>> {
    let store = Store::open(directory)?;
    let mut all = Vec::new();
    for stream in store.streams()? {
        let mut cursor = store.cursor(stream)?;
        while let Some(item) = cursor.next()? {
            let Item::Record { seq, bytes, .. } = item else {
                bail!("damaged: {item:?}");
            };
            all.push((stream.to_string(), seq, bytes));
        }
    }
    Ok(all)
}

fn wait_until_equal(spool: &Path, store: &Path) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let (ours, theirs) = (stored(spool)?, stored(store).unwrap_or_default());
        if ours == theirs && !ours.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "the spool holds {} records, the collector {}",
            ours.len(),
            theirs.len()
        );
        std::thread::sleep(PACE);
    }
}

fn session(daemon: &Daemon, name: &str) -> anyhow::Result<()> {
    let script = "for n in $(seq 200); do : > \"$0.$n\"; done; ls -l / > /dev/null";
    let scratch = tempfile::tempdir()?;
    let status = daemon
        .command("run")?
        .args(["--name", name, "--", "sh", "-c", script])
        .arg(scratch.path().join("file"))
        .status()?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn a_collector_that_was_away_holds_what_the_spool_holds() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let store = directory.path().join("store");
    let collector = Collector::start("127.0.0.1:0".parse()?, &store)?;
    let address = collector.address;
    let daemon = Daemon::start_with(&format!("[stream]\ncollector = \"http://{address}\"\n"))?;
    let spool = daemon.state().join("spool");

    session(&daemon, "before")?;
    wait_until_equal(&spool, &store)?;
    let before = stored(&store)?.len();

    collector.kill()?;
    session(&daemon, "while it is away")?;
    assert!(stored(&spool)?.len() > before);
    assert_eq!(stored(&store)?.len(), before);

    let collector = Collector::start(address, &store)?;
    session(&daemon, "after")?;
    wait_until_equal(&spool, &store)?;

    let state = daemon.stop()?;
    let spool = state.path().join("spool");
    assert_eq!(
        stored(&spool)?,
        stored(&store)?,
        "the last records arrive in the drain"
    );
    collector.stop()?;

    for (option, place) in [("--state-dir", state.path()), ("--store", &store)] {
        let verified = Command::new(binary()?)
            .arg("verify")
            .arg(option)
            .arg(place)
            .output()?;
        assert_eq!(verified.status.code(), Some(0), "{place:?}: {verified:?}");
    }
    let replay = |option: &str, place: &Path| {
        Command::new(binary()?)
            .args(["replay", "last", "--format", "json", option])
            .arg(place)
            .output()
            .context("replay")
    };
    let (ours, theirs) = (
        replay("--state-dir", state.path())?,
        replay("--store", &store)?,
    );
    assert!(ours.status.success() && !ours.stdout.is_empty(), "{ours:?}");
    assert_eq!(ours.stdout, theirs.stdout);
    Ok(())
}

#[test]
fn a_collector_that_never_was_costs_a_session_nothing() -> anyhow::Result<()> {
    // A port that nobody listens at: it was free a moment ago, and is not given out again so soon.
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let daemon = Daemon::start_with(&format!(
        "[stream]\ncollector = \"http://{free}\"\ndrain = \"100ms\"\n"
    ))?;
    session(&daemon, "alone")?;
    let state = daemon.stop()?;
    assert!(!stored(&state.path().join("spool"))?.is_empty());
    Ok(())
}
