//! The collector under stress: a full disk, garbage, decompression bombs, too much of
//! everything. The affected stream fails, and the others continue.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use agent_recorder::record::chain::Chain;
use agent_recorder::record::proto::to_daemon;
use agent_recorder::record::{Seq, StreamId};
use agent_recorder_tests::lab::collecting::{Collector, Host, record, stored, verify};
use agent_recorder_tests::lab::raw::{Raw, batch, hello};
use agent_recorder_tests::lab::recorder::binary;
use agent_recorder_tests::lab::wait::{LIMIT, wait_for};
use anyhow::{Context as _, ensure};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// Interval between two attempts to connect.
const PACE: Duration = Duration::from_millis(10);
/// More than a collector grows by for one stream, less than an attack sends.
const GROWTH: u64 = 64 << 20;

fn channel(collector: &Collector) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{}", collector.address))?.connect_lazy())
}

fn records(chain: &mut Chain, count: usize) -> Vec<Vec<u8>> {
    let mut one = |number| {
        let mut bytes = Vec::new();
        chain.append(record(number, 20), &mut bytes);
        bytes
    };
    (0..count).map(&mut one).collect()
}

/// Sends records on a stream of its own, and waits for their acknowledgement.
async fn others_go_on(collector: &Collector) -> anyhow::Result<()> {
    let stream = StreamId::generate();
    let (mut raw, _) = Raw::hello(channel(collector)?, hello(stream, "other")).await?;
    raw.send(batch(1, records(&mut Chain::start(stream), 3)));
    let answer = raw.answer().await?;
    ensure!(
        matches!(&answer, Some(to_daemon::Message::Ack(ack)) if ack.durable_through == 3),
        "{answer:?}"
    );
    Ok(())
}

/// N11: nothing is acknowledged that is not synced, and all arrives when there is room again.
#[test]
fn a_full_disk_is_a_refusal_with_its_reason_and_loses_nothing() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=4m,mode=700 collector \"$0\" && head -c 3500000 /dev/zero > \"$0/filler\" && exec \"$@\"")
        .arg(place.path())
        .arg(binary()?);
    let collector = Collector::start_by(command, "127.0.0.1:0", place.path(), &[])?;
    // The tmpfs is seen in the collector's mount namespace only.
    let store = Path::new("/proc")
        .join(collector.pid().to_string())
        .join("root")
        .join(place.path().strip_prefix("/")?);
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let host = Host::new(1000, 2000)?;
    let stream = host.send(&format!("http://{}", collector.address), None);
    wait_for("the refusal", || {
        Ok(collector.said().contains("disk is full").then_some(()))
    })?;
    let acknowledged = stream.acknowledged();
    assert!(acknowledged < host.last());
    let held = stored(&store, host.stream()).unwrap_or_default();
    assert!(held.len() as u64 >= acknowledged.0, "{} held", held.len());
    fs::remove_file(store.join("filler"))?;
    host.wait_until_sent(&stream)?;
    ensure!(
        stored(&store, host.stream())? == stored(&host.spool(), host.stream())?,
        "the copy differs"
    );
    Ok(())
}

/// N8: truncated and overlong varints, wrong wire types, absurd lengths, deep nesting, text that is none.
#[test]
fn malformed_messages_fail_their_stream_and_no_other() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let collector = Collector::start("127.0.0.1:0", store.path(), &[])?;
    Runtime::new()?.block_on(async {
        let stream = StreamId::generate();
        let (mut beside, _) = Raw::hello(channel(&collector)?, hello(stream, "beside")).await?;
        let garbage: [&[u8]; 6] = [
            &[0x12, 0x80],
            &[
                0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ],
            &[0x10, 0x01],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0x07],
            &[0x07],
            &[0x0b; 200],
        ];
        for bytes in garbage {
            let own = StreamId::generate();
            let (mut raw, _) = Raw::hello(channel(&collector)?, hello(own, "garbage")).await?;
            raw.send(bytes.to_vec());
            let status = raw.refused().await?;
            println!("{bytes:02x?}: {status:?}");
            // The bytes fail as the first message, too.
            assert!(
                Raw::open(channel(&collector)?, bytes.to_vec())
                    .await
                    .is_err()
            );
        }
        let text = [0x0a, 0x04, 0x1a, 0x02, 0xff, 0xfe];
        assert!(
            Raw::open(channel(&collector)?, text.to_vec())
                .await
                .is_err()
        );

        // A record that nests too deep is refused alone, one with unknown fields is kept.
        let mut chain = Chain::start(stream);
        let mut sent = records(&mut chain, 2);
        let mut deep = Vec::new();
        for _ in 0..200 {
            let mut outer = vec![0x32];
            let mut length = deep.len();
            while length > 0x7f {
                outer.push(length as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.append(&mut deep);
            deep = outer;
        }
        sent.push(deep);
        // A message of a newer daemon is skipped (N13).
        beside.send(vec![0x7a, 0x00]);
        beside.send(batch(1, sent));
        let answer = beside.answer().await?;
        ensure!(
            matches!(&answer, Some(to_daemon::Message::Refusal(refusal)) if refusal.seq == 3),
            "{answer:?}"
        );
        let answer = beside.answer().await?;
        ensure!(
            matches!(&answer, Some(to_daemon::Message::Ack(ack)) if ack.durable_through == 3),
            "{answer:?}"
        );
        others_go_on(&collector).await
    })?;
    let (status, said) = verify(store.path())?;
    println!("{said}");
    assert_eq!(status, Some(3), "a refused record is a declared loss");
    assert!(said.contains("3 to 3 are absent: refused: "), "{said}");
    Ok(())
}

/// N9: 256 MiB of zeros in a message of some kB.
#[test]
fn a_decompression_bomb_ends_its_stream_and_takes_no_memory() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let collector = Collector::start("127.0.0.1:0", store.path(), &[])?;
    Runtime::new()?.block_on(async {
        others_go_on(&collector).await?;
        let before = collector.peak_memory()?;
        let stream = StreamId::generate();
        let (mut raw, _) = Raw::hello(channel(&collector)?, hello(stream, "bomb")).await?;
        raw.send(vec![0; 256 << 20]);
        let status = raw.refused().await?;
        others_go_on(&collector).await?;
        let after = collector.peak_memory()?;
        println!("{status:?}; peak memory {before} before, {after} after");
        assert!(after < before + GROWTH);
        Ok::<_, anyhow::Error>(())
    })
}

/// N10, N12: ids are bytes, names are made from them; all has a limit.
#[test]
fn what_a_daemon_can_size_or_name_is_bounded() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let collector = Collector::start("127.0.0.1:0", store.path(), &[])?;
    Runtime::new()?.block_on(async {
        let stream = StreamId::generate();
        for id in [
            b"../../../../etc/passwd".to_vec(),
            b"../../etc/".to_vec(),
            Vec::new(),
            vec![0; 4096],
        ] {
            let mut hello = hello(stream, "traversal");
            hello.stream_id = id;
            assert!(Raw::hello(channel(&collector)?, hello).await.is_err());
        }
        // 16 bytes are an id, whatever they spell.
        let mut odd = hello(stream, "../../../etc");
        odd.stream_id = b"../../../../etc/".to_vec();
        Raw::hello(channel(&collector)?, odd).await?;
        let long = hello(stream, &"x".repeat(4096));
        assert!(Raw::hello(channel(&collector)?, long).await.is_err());
        let mut other = hello(stream, "x");
        other.protocol = 99;
        assert!(Raw::hello(channel(&collector)?, other).await.is_err());

        let (mut raw, _) = Raw::hello(channel(&collector)?, hello(stream, "many")).await?;
        raw.send(batch(1, vec![Vec::new(); 513]));
        println!("{:?}", raw.refused().await?);
        let (mut raw, _) = Raw::hello(channel(&collector)?, hello(stream, "many")).await?;
        raw.send(batch(u64::MAX, records(&mut Chain::start(stream), 1)));
        println!("{:?}", raw.refused().await?);
        let (mut raw, _) = Raw::hello(channel(&collector)?, hello(stream, "many")).await?;
        raw.send(vec![0x12; 5 << 20]);
        println!("{:?}", raw.refused().await?);
        let another = Raw::hello(channel(&collector)?, hello(stream, "somebody else")).await;
        println!("{:?}", another.map(|_| ()).map_err(|status| status.code()));
        others_go_on(&collector).await
    })?;
    for entry in fs::read_dir(store.path())? {
        let name = entry?.file_name();
        let name = name.to_str().context("a name")?;
        assert!(name.parse::<StreamId>().is_ok(), "{name}");
    }
    Ok(())
}

/// N10: connections and streams beyond the limits are refused, and the others continue.
#[test]
fn too_many_connections_and_streams_are_turned_away() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let place = tempfile::tempdir()?;
    let config = place.path().join("config.toml");
    fs::write(&config, "[collector]\nconnections = 3\nstreams = 2\n")?;
    let config = config.to_str().context("a path")?;
    let collector = Collector::start("127.0.0.1:0", store.path(), &["--config", config])?;
    Runtime::new()?.block_on(async {
        let channel = channel(&collector)?;
        let mut held = Vec::new();
        for _ in 0..2 {
            let hello = hello(StreamId::generate(), "few");
            held.push(Raw::hello(channel.clone(), hello).await?);
        }
        let third = Raw::hello(channel.clone(), hello(StreamId::generate(), "few")).await;
        assert!(third.is_err());
        held.pop();
        // The collector sees the end of the second a moment later.
        let seat = async {
            while Raw::hello(channel.clone(), hello(StreamId::generate(), "few"))
                .await
                .is_err()
            {
                tokio::time::sleep(PACE).await;
            }
        };
        tokio::time::timeout(LIMIT, seat).await?;
        let silent: Vec<_> = (0..20)
            .map(|_| std::net::TcpStream::connect(collector.address))
            .collect();
        println!("{} silent connections", silent.len());
        let (mut raw, _) = held.pop().context("the first")?;
        let stream = StreamId::generate();
        raw.send(batch(5, records(&mut Chain::start(stream), 1)));
        assert!(raw.answer().await.is_ok());
        Ok::<_, anyhow::Error>(())
    })?;
    assert!(collector.said().contains("turned away"));
    Ok(())
}

/// N5, N10: slow-loris, and a peer that vanished before it said anything.
#[test]
fn a_connection_that_says_nothing_whole_is_closed() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let collector = Collector::start("127.0.0.1:0", store.path(), &[])?;
    let silent = std::net::TcpStream::connect(collector.address)?;
    let mut begun = std::net::TcpStream::connect(collector.address)?;
    begun.write_all(b"PRI * HTTP/2.0")?;
    for mut stream in [silent, begun] {
        stream.set_read_timeout(Some(LIMIT))?;
        // An end or a reset, but not the time limit.
        let end = stream.read_to_end(&mut Vec::new());
        let in_time = end.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true);
        assert!(in_time);
    }
    Ok(())
}

#[test]
fn beyond_loopback_it_does_not_listen_without_keys() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let output = Command::new(binary()?)
        .args(["collect", "--listen", "0.0.0.0:0", "--store"])
        .arg(store.path())
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("without TLS") && said.lines().count() == 1,
        "{said}"
    );
    Ok(())
}

/// N4: an older copy receives again what the spool still holds.
#[test]
fn a_collector_restored_from_an_old_copy_is_sent_the_rest_again() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let (store, old) = (place.path().join("store"), place.path().join("old"));
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let mut host = Host::new(300, 100)?;
    let collector = Collector::start("127.0.0.1:0", &store, &[])?;
    let address = collector.address.to_string();
    let mut stream = host.send(&format!("http://{address}"), None);
    host.wait_until_sent(&stream)?;
    collector.kill()?;
    let copied = Command::new("cp").arg("-a").args([&store, &old]).status()?;
    ensure!(copied.success());
    let collector = Collector::start(&address, &store, &[])?;
    host.record(300, 100)?;
    host.grown(&stream);
    host.wait_until_sent(&stream)?;
    collector.kill()?;
    fs::remove_dir_all(&store)?;
    fs::rename(&old, &store)?;
    let _collector = Collector::start(&address, &store, &[])?;
    let declared = wait_for("the declaration", || Ok(stream.declaration()))?;
    assert_eq!(declared.event.name(), "collector_behind");
    println!("{}", declared.detail);
    host.wait_until_sent(&stream)?;
    ensure!(
        stored(&store, host.stream())? == stored(&host.spool(), host.stream())?,
        "the copy differs"
    );
    assert_eq!(verify(&store)?.0, Some(0));
    Ok(())
}

/// What a daemon with 50 records declares when the collector holds `count` forged records
/// of its stream.
fn declared_of_forged(count: usize) -> anyhow::Result<String> {
    let place = tempfile::tempdir()?;
    let store = place.path().join("store");
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let host = Host::new(50, 100)?;
    let collector = Collector::start("127.0.0.1:0", &store, &[])?;
    let mut forged = Chain::start(host.stream());
    runtime.block_on(async {
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let hello = hello(host.stream(), machine.trim());
        let (mut raw, _) = Raw::hello(channel(&collector)?, hello).await?;
        raw.send(batch(1, records(&mut forged, count)));
        raw.answer().await?;
        Ok::<_, anyhow::Error>(())
    })?;
    let mut stream = host.send(&format!("http://{}", collector.address), None);
    let declared = wait_for("the declaration", || Ok(stream.declaration()))?;
    assert_eq!(declared.event.name(), "collector_fault");
    assert_eq!(stream.acknowledged(), Seq(0));
    Ok(declared.detail)
}

/// S11: a copy that was altered where it matters is noticed by the daemon.
#[test]
fn a_copy_that_is_another_streams_is_not_continued() -> anyhow::Result<()> {
    let declared = declared_of_forged(20)?;
    assert!(declared.contains("is not this host's"), "{declared}");
    Ok(())
}

/// S11: a spool that was put back to an older state would give numbers again.
#[test]
fn a_spool_that_was_rolled_back_is_noticed_by_the_copys_length() -> anyhow::Result<()> {
    let declared = declared_of_forged(80)?;
    assert!(declared.contains("rolled back"), "{declared}");
    Ok(())
}

#[test]
fn a_gap_that_was_not_declared_is_an_alteration() -> anyhow::Result<()> {
    let store = tempfile::tempdir()?;
    let collector = Collector::start("127.0.0.1:0", store.path(), &[])?;
    let stream = StreamId::generate();
    let sent = records(&mut Chain::start(stream), 10);
    Runtime::new()?.block_on(async {
        let (mut raw, _) = Raw::hello(channel(&collector)?, hello(stream, "gaps")).await?;
        raw.send(batch(1, sent[..4].to_vec()));
        raw.send(batch(8, sent[7..].to_vec()));
        raw.answer().await?;
        raw.answer().await?;
        Ok::<_, anyhow::Error>(())
    })?;
    let (status, said) = verify(store.path())?;
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("5 to 7 are absent: never sent"), "{said}");
    let declared = store.path().join(stream.to_string()).join("absent");
    fs::File::options()
        .write(true)
        .open(&declared)?
        .write_all_at(b"6", 0)?;
    assert_eq!(verify(store.path())?.0, Some(4));
    Ok(())
}
