//! The stream: a collector holds what the spool holds, also after it was away.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use agent_recorder::identity::{make_ca, make_collector, make_host};
use agent_recorder::record::proto::record::Body;
use agent_recorder::record::{Seq, proto};
use agent_recorder::spool::{Item, Store};
use agent_recorder_tests::lab::collecting::Collector;
use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::files::fill;
use agent_recorder_tests::lab::recorder::{GUARDING_TEMPORARY, binary};
use agent_recorder_tests::lab::wait::wait_for;
use anyhow::{Context as _, bail, ensure};
use prost::Message as _;

/// More than the limit, in one directory.
const FILES: usize = 500;
const LIMIT: usize = 64;

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

/// The recorder's records about itself.
fn events(directory: &Path) -> anyhow::Result<Vec<String>> {
    let records = stored(directory)?.into_iter();
    records
        .map(|(_, _, bytes)| {
            let record = proto::Record::decode(bytes.as_slice())?;
            Ok(match record.body {
                Some(Body::StreamEvent(event)) => event.event,
                _ => String::new(),
            })
        })
        .collect()
}

fn wait_until_equal(spool: &Path, store: &Path) -> anyhow::Result<()> {
    wait_for("the copy to be equal", || {
        let (ours, theirs) = (stored(spool)?, stored(store).unwrap_or_default());
        Ok((ours == theirs && !ours.is_empty()).then_some(()))
    })
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

/// N4, and the whole way by mutual TLS, as the configuration says it.
#[test]
fn a_collector_that_was_away_or_lost_its_copy_holds_what_the_spool_holds() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let at = |name: &str| directory.path().join(name);
    make_ca(&at("ca"), 1)?;
    make_collector(&at("ca"), &at("collector"), &["localhost".to_owned()], 1)?;
    make_host(&at("ca"), &at("host"), &"a-host".parse()?, 1)?;
    let (store, keys) = (at("store"), at("collector"));
    let keys = ["--keys", keys.to_str().context("a path")?];
    let collector = Collector::start("127.0.0.1:0", &store, &keys)?;
    let address = collector.address.to_string();
    let daemon = Daemon::start_with(&format!(
        "[stream]\ncollector = \"https://localhost:{}\"\nkeys = {:?}\n",
        collector.address.port(),
        at("host")
    ))?;
    let spool = daemon.state().join("spool");

    session(&daemon, "before")?;
    wait_until_equal(&spool, &store)?;
    let before = stored(&store)?.len();
    let sessions = daemon.command("sessions")?.output()?;
    let said = String::from_utf8_lossy(&sessions.stderr).into_owned();
    assert!(said.contains("the collector answers: "), "{said}");

    collector.kill()?;
    session(&daemon, "while it is away")?;
    assert!(stored(&spool)?.len() > before);
    assert_eq!(stored(&store)?.len(), before);

    // The copy is gone with the store: everything is sent again, which is recorded.
    std::fs::remove_dir_all(&store)?;
    let collector = Collector::start(&address, &store, &keys)?;
    session(&daemon, "after")?;
    wait_until_equal(&spool, &store)?;
    wait_for("the record of it", || {
        let found = events(&spool)?
            .iter()
            .any(|event| event == "collector_behind");
        Ok(found.then_some(()))
    })?;

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
    let nobody = nobody()?;
    let daemon = Daemon::start_with(&format!(
        "[stream]\ncollector = \"http://{nobody}\"\ndrain = \"100ms\"\n"
    ))?;
    session(&daemon, "alone")?;
    let state = daemon.stop()?;
    assert!(!stored(&state.path().join("spool"))?.is_empty());
    Ok(())
}

/// A port without a listener: it was free a moment ago, and is not given out again so soon.
fn nobody() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// D16: what is acknowledged stays so, the rest is sent by the next daemon.
#[test]
fn a_daemon_that_stops_while_its_collector_is_down_keeps_what_is_to_be_sent() -> anyhow::Result<()>
{
    let place = tempfile::tempdir()?;
    let store = place.path().join("store");
    let collector = Collector::start("127.0.0.1:0", &store, &[])?;
    let address = collector.address.to_string();
    let configuration = format!("[stream]\ncollector = \"http://{address}\"\ndrain = \"1s\"\n");
    let daemon = Daemon::start_with(&configuration)?;
    session(&daemon, "before")?;
    let spool = daemon.state().join("spool");
    wait_until_equal(&spool, &store)?;
    let sent = stored(&store)?.len();
    collector.kill()?;
    session(&daemon, "while it is down")?;
    // `Daemon::stop` fails when it takes too long.
    let state = daemon.stop()?;
    let spool = state.path().join("spool");
    assert!(stored(&spool)?.len() > sent);
    let verified = Command::new(binary()?)
        .args([
            "verify".as_ref(),
            "--state-dir".as_ref(),
            state.path().as_os_str(),
        ])
        .output()?;
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let _collector = Collector::start(&address, &store, &[])?;
    let daemon = Daemon::start_in(state, &configuration)?;
    wait_until_equal(&daemon.state().join("spool"), &store)?;
    daemon.stop()?;
    Ok(())
}

/// E10: the guard needs no collector.
#[test]
fn the_guard_strikes_while_the_collector_is_down() -> anyhow::Result<()> {
    let tree = tempfile::tempdir()?;
    fill(tree.path(), FILES)?;
    let stream = format!(
        "[stream]\ncollector = \"http://{}\"\ndrain = \"100ms\"\n",
        nobody()?
    );
    let daemon = Daemon::start_with(&format!("{GUARDING_TEMPORARY}{stream}"))?;
    let status = daemon
        .command("run")?
        .args(["--", "sh", "-c", "rm -r \"$0\"/*"])
        .arg(tree.path())
        .status()?;
    assert_eq!(status.code(), Some(128 + 9));
    let left = std::fs::read_dir(tree.path())?.count();
    assert_eq!(left, FILES - LIMIT);
    let records = daemon.last_session()?;
    assert!(records.iter().any(|it| it.get("enforcement").is_some()));
    daemon.stop()?;
    Ok(())
}
