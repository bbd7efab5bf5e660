//! Lines that are slow, cut or silent, and a hundred daemons at once: nothing
//! is lost, and both sides stay small.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use agent_recorder::identity::{make_ca, make_collector, make_host};
use agent_recorder::record::Seq;
use agent_recorder_tests::agents::netns;
use agent_recorder_tests::collecting::{Collector, Host, peak_memory, stored};
use agent_recorder_tests::line::Line;
use agent_recorder_tests::recorder::binary;
use agent_recorder_tests::wait::wait_for;
use anyhow::{Context as _, anyhow, ensure};
use tokio::runtime::Runtime;

/// Of a collector with a hundred streams at work: some hundred kB each, and what they share.
const COLLECTOR_MEMORY: u64 = 256 << 20;
/// Of a hundred senders with their spools' buffers, and the test itself.
const SENDERS_MEMORY: u64 = 256 << 20;

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

/// Two network namespaces with a cable between them: the calling thread's, and one that a process holds.
struct Cable {
    far: Child,
}

const NEAR: &str = "10.77.0.1";
const FAR: &str = "10.77.0.2";
/// Nobody's: frames to it arrive, and are dropped without a word.
const NOBODY: &str = "02:00:00:00:00:99";

impl Cable {
    /// Moves the calling thread, and the threads it will start, to the near end.
    fn lay() -> anyhow::Result<Self> {
        netns::isolate()?;
        let far = Command::new("unshare")
            .args(["--net", "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()?;
        let cable = Self { far };
        let pid = cable.far.id().to_string();
        let own = std::fs::read_link("/proc/thread-self/ns/net")?;
        wait_for("the other namespace", || {
            let other = std::fs::read_link(format!("/proc/{pid}/ns/net"))?;
            Ok((other != own).then_some(()))
        })?;
        near(&format!(
            "link add near type veth peer name far netns {pid}"
        ))?;
        near(&format!("addr add {NEAR}/24 dev near"))?;
        near("link set near up")?;
        cable.far("link set lo up")?;
        cable.far(&format!("addr add {FAR}/24 dev far"))?;
        cable.far("link set far up")?;
        Ok(cable)
    }

    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.far.id()));
        command
    }

    fn far(&self, arguments: &str) -> anyhow::Result<()> {
        let mut command = self.enter();
        command.arg("ip");
        ip(command, arguments)
    }

    /// From now on nothing arrives on either side, and neither is told.
    fn swallow(&self) -> anyhow::Result<()> {
        near(&format!(
            "neigh replace {FAR} lladdr {NOBODY} dev near nud permanent"
        ))?;
        self.far(&format!(
            "neigh replace {NEAR} lladdr {NOBODY} dev far nud permanent"
        ))
    }

    fn mend(&self) -> anyhow::Result<()> {
        near(&format!("neigh del {FAR} dev near"))?;
        self.far(&format!("neigh del {NEAR} dev far"))
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // It fails only when it has ended already; the namespaces and the cable go with it.
        let _ = self.far.kill();
        let _ = self.far.wait();
    }
}

fn near(arguments: &str) -> anyhow::Result<()> {
    ip(Command::new("ip"), arguments)
}

fn ip(mut command: Command, arguments: &str) -> anyhow::Result<()> {
    let output = command.args(arguments.split(' ')).output()?;
    ensure!(output.status.success(), "ip {arguments}: {output:?}");
    Ok(())
}

fn keys(place: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (ca, collector, host) = (place.join("ca"), place.join("c"), place.join("h"));
    make_ca(&ca, 1)?;
    make_collector(&ca, &collector, &[FAR.to_owned()], 1)?;
    make_host(&ca, &host, &"a-host".parse()?, 1)?;
    Ok((collector, host))
}

fn half_open() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let (collector_keys, host_keys) = keys(place.path())?;
    let cable = Cable::lay()?;
    let store = place.path().join("store");
    let mut command = cable.enter();
    command.arg(binary()?);
    let collector_keys = collector_keys.to_str().context("a path")?;
    let collector = Collector::start_by(
        command,
        &format!("{FAR}:0"),
        &store,
        &["--keys", collector_keys],
    )?;
    // Its threads are started here, and so are in this namespace.
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let mut host = Host::new(500, 200)?;
    let stream = host.send(&format!("https://{}", collector.address), Some(&host_keys));
    host.wait_until_sent(&stream)?;

    cable.swallow()?;
    let before = host.last();
    host.record(500, 200)?;
    host.grown(&stream);
    let swallowed = std::time::Instant::now();
    wait_for("the daemon to notice", || {
        Ok((!stream.flow().connected).then_some(()))
    })?;
    println!("the daemon noticed after {:?}", swallowed.elapsed());
    assert_eq!(stream.acknowledged(), before);
    let about = store.join(host.stream().to_string()).join("about.json");
    wait_for("the collector to notice", || {
        let about = std::fs::read_to_string(&about)?;
        Ok(about.contains("\"connected\": false").then_some(()))
    })?;
    println!("the collector noticed after {:?}", swallowed.elapsed());
    cable.mend()?;
    host.wait_until_sent(&stream)?;
    assert_equal(&store, &host)
}

/// N2: packets are dropped between two network namespaces, and nobody is told.
#[test]
fn a_half_open_connection_is_noticed_on_both_sides() -> anyhow::Result<()> {
    // A thread of its own: its namespace ends with it.
    thread::spawn(half_open)
        .join()
        .map_err(|_| anyhow!("the thread panicked"))?
}
