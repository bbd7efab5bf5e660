//! Mutual TLS: a peer that is not who the CA says is refused, and a host writes its own
//! streams only.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_recorder::identity::{Certificate, make_ca, make_collector, make_host};
use agent_recorder::record::{Seq, StreamId};
use agent_recorder_tests::lab::collecting::{Collector, Host, stored};
use agent_recorder_tests::lab::raw::{Raw, hello};
use agent_recorder_tests::lab::recorder::binary;
use agent_recorder_tests::lab::wait::wait_for;
use anyhow::{Context as _, ensure};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const YEAR: u32 = 365;

/// A CA, a collector's keys, and a place for more.
struct Place(TempDir);

impl Place {
    fn new() -> anyhow::Result<Self> {
        let place = Self(tempfile::tempdir()?);
        make_ca(&place.at("ca"), YEAR)?;
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        make_collector(&place.at("ca"), &place.at("collector"), &names, YEAR)?;
        Ok(place)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn host(&self, name: &str) -> anyhow::Result<PathBuf> {
        self.host_in(name, name, YEAR)
    }

    fn host_in(&self, folder: &str, name: &str, days: u32) -> anyhow::Result<PathBuf> {
        make_host(&self.at("ca"), &self.at(folder), &name.parse()?, days)?;
        Ok(self.at(folder))
    }

    fn collector(&self, address: &str) -> anyhow::Result<Collector> {
        let keys = self.at("collector");
        let keys = keys.to_str().context("a path")?;
        Collector::start(address, &self.at("store"), &["--keys", keys])
    }
}

fn https(collector: &Collector) -> String {
    format!("https://localhost:{}", collector.address.port())
}

/// A channel with the certificate of `keys`, or with none, that believes in `ca`.
async fn channel(collector: &Collector, ca: &Path, keys: Option<&Path>) -> anyhow::Result<Channel> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.join("ca.pem"))?)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots);
    let mut config = match keys {
        Some(keys) => builder.with_client_auth_cert(
            vec![CertificateDer::from_pem_file(keys.join("host.pem"))?],
            PrivateKeyDer::from_pem_file(keys.join("host.key"))?,
        )?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (tls, address) = (TlsConnector::from(Arc::new(config)), collector.address);
    let connector = tower::service_fn(move |_| {
        let tls = tls.clone();
        async move {
            let stream = tokio::net::TcpStream::connect(address).await?;
            let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(tls.connect(name, stream).await?))
        }
    });
    let endpoint = Endpoint::from_static("http://collector");
    Ok(endpoint.connect_with_connector(connector).await?)
}

async fn is_heard(
    collector: &Collector,
    ca: &Path,
    keys: Option<&Path>,
    name: &str,
) -> Result<(), String> {
    let channel = channel(collector, ca, keys)
        .await
        .map_err(|error| format!("{error:#}"))?;
    let heard = Raw::hello(channel, hello(StreamId::generate(), name)).await;
    heard.map(|_| ()).map_err(|status| status.to_string())
}

/// N6: a wrong CA, an expired certificate, none at all, a collector's instead of a host's.
#[test]
fn only_certificates_of_the_ca_that_hold_now_are_heard() -> anyhow::Result<()> {
    let (place, other) = (Place::new()?, Place::new()?);
    let collector = place.collector("127.0.0.1:0")?;
    let good = place.host("good")?;
    let foreign = other.host("good")?;
    let expired = place.host_in("expired", "good", 0)?;
    let servers = place.at("servers");
    fs::create_dir(&servers)?;
    for (from, to) in [("collector.pem", "host.pem"), ("collector.key", "host.key")] {
        fs::copy(place.at("collector").join(from), servers.join(to))?;
    }
    let ca = place.at("ca");
    let ended = Certificate::read(&CertificateDer::from_pem_file(expired.join("host.pem"))?)
        .map_err(anyhow::Error::msg)?
        .until;
    wait_for("the certificate's end", || {
        // A certificate holds for all of its last second.
        Ok((SystemTime::now() > ended + Duration::from_secs(1)).then_some(()))
    })?;
    Runtime::new()?.block_on(async {
        is_heard(&collector, &ca, Some(&good), "good")
            .await
            .map_err(anyhow::Error::msg)?;
        for keys in [Some(&foreign), Some(&expired), Some(&servers), None] {
            let keys = keys.map(PathBuf::as_path);
            let refused = is_heard(&collector, &ca, keys, "good").await;
            println!("{keys:?}: {refused:?}");
            assert!(refused.is_err(), "{keys:?}");
        }
        is_heard(&collector, &ca, Some(&good), "good")
            .await
            .map_err(anyhow::Error::msg)
    })?;
    println!("{}", collector.said());
    Ok(())
}

/// N7: a host says that it is another, or writes another's stream.
#[test]
fn a_host_writes_the_streams_of_its_certificate_only() -> anyhow::Result<()> {
    let place = Place::new()?;
    let collector = place.collector("127.0.0.1:0")?;
    let (a, b) = (place.host("a")?, place.host("b")?);
    let ca = place.at("ca");
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let host = Host::new(20, 100)?;
    let stream = host.send(&https(&collector), Some(&a));
    host.wait_until_sent(&stream)?;
    drop(stream);
    let (lie, theft) = runtime.block_on(async {
        let first = channel(&collector, &ca, Some(&b)).await?;
        let lie = Raw::hello(first, hello(StreamId::generate(), "a")).await;
        let second = channel(&collector, &ca, Some(&b)).await?;
        let theft = Raw::hello(second, hello(host.stream(), "b")).await;
        Ok::<_, anyhow::Error>((lie.err(), theft.err()))
    })?;
    let code = |status: Option<tonic::Status>| status.map(|status| status.code());
    assert_eq!(code(lie), Some(Code::Unauthenticated));
    assert_eq!(code(theft), Some(Code::PermissionDenied));
    // Both are alarms.
    let said = collector.said();
    for alarm in ["says that it is \"a\"", "wants to write stream"] {
        assert!(said.contains(alarm), "{alarm}: {said}");
    }
    assert_eq!(
        stored(&place.at("store"), host.stream())?.len() as u64,
        host.last().0
    );
    Ok(())
}

/// N6: a collector by another name than that of its certificate, and one of another CA.
#[test]
fn a_collector_that_is_not_who_it_should_be_is_sent_nothing() -> anyhow::Result<()> {
    let (place, other) = (Place::new()?, Place::new()?);
    let keys = place.host("a")?;
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let host = Host::new(20, 100)?;
    let elsewhere = place.at("elsewhere");
    make_collector(
        &place.at("ca"),
        &elsewhere,
        &["elsewhere.example".to_owned()],
        YEAR,
    )?;
    for wrong in [elsewhere, other.at("collector")] {
        let store = tempfile::tempdir()?;
        let wrong = wrong.to_str().context("a path")?;
        let collector = Collector::start("127.0.0.1:0", store.path(), &["--keys", wrong])?;
        let stream = host.send(&https(&collector), Some(&keys));
        wait_for("it to be turned away", || {
            let said = collector.said();
            Ok(said.contains("is turned away").then_some(()))
        })?;
        assert_eq!(stream.acknowledged(), Seq(0));
        assert!(
            stored(store.path(), host.stream())
                .unwrap_or_default()
                .is_empty()
        );
    }
    Ok(())
}

/// N6: a peer that knows TLS 1.2 at most.
#[test]
fn a_client_of_tls_1_2_gets_an_alert() -> anyhow::Result<()> {
    let place = Place::new()?;
    let collector = place.collector("127.0.0.1:0")?;
    // A ClientHello without `supported_versions` (RFC 5246, 7.4.1.2): two suites, two extensions.
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    let extensions = [
        0, 10, 0, 4, 0, 2, 0, 23, // supported_groups: secp256r1
        0, 13, 0, 4, 0, 2, 4, 3, // signature_algorithms: ecdsa_secp256r1_sha256
    ];
    body.extend([0, extensions.len() as u8]);
    body.extend(extensions);
    let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend(body);
    let mut stream = TcpStream::connect(collector.address)?;
    stream.write_all(&record)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    // An alert, fatal, protocol_version (RFC 8446, 6.2).
    assert_eq!(answer.first(), Some(&21), "{answer:?}");
    assert!(answer.ends_with(&[2, 70]), "{answer:?}");
    Ok(())
}

/// N6: neither side falls back to plaintext.
#[test]
fn neither_side_speaks_plaintext_when_tls_fails() -> anyhow::Result<()> {
    let place = Place::new()?;
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let keys = place.host("a")?;
    let with_tls = place.collector("127.0.0.1:0")?;
    let plain = Collector::start("127.0.0.1:0", &place.at("plain"), &[])?;
    let host = Host::new(10, 100)?;
    let to_plain = host.send(&https(&plain), Some(&keys));
    let to_tls = host.send(&format!("http://{}", with_tls.address), None);
    wait_for("the refusal", || {
        Ok(with_tls.said().contains("is turned away").then_some(()))
    })?;
    assert_eq!(to_tls.acknowledged(), Seq(0));
    assert_eq!(to_plain.acknowledged(), Seq(0));
    for store in ["plain", "store"] {
        assert!(stored(&place.at(store), host.stream()).is_err());
    }
    Ok(())
}

fn replace(live: &Path, new: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(new)? {
        let entry = entry?;
        fs::rename(entry.path(), live.join(entry.file_name()))?;
    }
    Ok(())
}

/// N6: certificates change on the disk while a stream runs.
#[test]
fn a_rotation_under_a_live_stream_loses_nothing() -> anyhow::Result<()> {
    let place = Place::new()?;
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let keys = place.host("a")?;
    let collector = place.collector("127.0.0.1:0")?;
    let mut host = Host::new(100, 100)?;
    let stream = host.send(&https(&collector), Some(&keys));
    host.wait_until_sent(&stream)?;

    // The broken pair comes first: it is logged, and the old one stays in use.
    fs::write(place.at("collector").join("collector.key"), "rubbish")?;
    let other = place.host("b")?;
    let ca = place.at("ca");
    runtime
        .block_on(is_heard(&collector, &ca, Some(&other), "b"))
        .map_err(anyhow::Error::msg)?;
    assert!(
        collector.said().contains("stay in use"),
        "{}",
        collector.said()
    );

    // All certificates are then of another CA, and new connections use them.
    let next = Place::new()?;
    let new = next.host("a")?;
    replace(&place.at("collector"), &next.at("collector"))?;
    replace(&keys, &new)?;
    let peer = || -> anyhow::Result<String> {
        let about = place.at("store").join(host.stream().to_string());
        Ok(fs::read_to_string(about.join("about.json"))?)
    };
    let before = peer()?;
    let port = |about: &str| {
        about
            .lines()
            .find(|line| line.contains("peer"))
            .map(str::to_owned)
    };
    wait_for("the new connection", || {
        let now = peer()?;
        Ok((port(&now) != port(&before)).then_some(()))
    })?;
    host.record(100, 100)?;
    host.grown(&stream);
    host.wait_until_sent(&stream)?;
    let refused = runtime.block_on(is_heard(&collector, &next.at("ca"), Some(&other), "b"));
    ensure!(refused.is_err(), "the old CA is believed still");
    println!("{}", collector.said());
    Ok(())
}

#[test]
fn keys_makes_what_collect_takes_and_says_what_it_made() -> anyhow::Result<()> {
    let place = tempfile::tempdir()?;
    let keys = |arguments: &[&str]| {
        Command::new(binary()?)
            .arg("keys")
            .args(arguments)
            .current_dir(place.path())
            .output()
            .context("run keys")
    };
    for arguments in [
        &["ca", "ca"][..],
        &["collector", "c", "--ca", "ca", "--name", "localhost"],
        &["host", "h", "--ca", "ca", "--id", "web-1"],
    ] {
        let output = keys(arguments)?;
        assert!(output.status.success(), "{output:?}");
        let made = String::from_utf8(output.stdout)?;
        assert!(made.lines().all(|file| place.path().join(file).is_file()));
        let again = keys(arguments)?;
        assert_eq!(again.status.code(), Some(2), "{again:?}");
    }
    let odd = keys(&["host", "x", "--ca", "ca", "--id", "../a b"])?;
    assert_eq!(odd.status.code(), Some(2), "{odd:?}");
    let store = place.path().join("store");
    let directory = place.path().join("c");
    let directory = directory.to_str().context("a path")?;
    let collector = Collector::start("127.0.0.1:0", &store, &["--keys", directory])?;
    let runtime = Runtime::new()?;
    let _inside = runtime.enter();
    let host = Host::new(5, 10)?;
    let stream = host.send(&https(&collector), Some(&place.path().join("h")));
    host.wait_until_sent(&stream)
}
