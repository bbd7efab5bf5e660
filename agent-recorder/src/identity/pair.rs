//! Certificate and key of one side, which are read again when their files change.
//!
//! A pair that does not match, such as one half of a rotation, is logged once, and
//! the last good pair stays in use until the files change again.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::{Certificate, Error, HostId, io, wrong};

/// The only protocol is HTTP/2.
const ALPN: &[u8] = b"h2";
/// Time before a certificate's end at which a warning is logged.
const ENDS_SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Paths of the three files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    /// `ca.pem`, `collector.pem` and `collector.key` in a directory.
    pub fn of_collector(directory: &Path) -> Self {
        Self::named(directory, "collector")
    }

    /// `ca.pem`, `host.pem` and `host.key` in a directory.
    pub fn of_host(directory: &Path) -> Self {
        Self::named(directory, "host")
    }

    fn named(directory: &Path, name: &str) -> Self {
        Self {
            ca: directory.join("ca.pem"),
            certificate: directory.join(format!("{name}.pem")),
            key: directory.join(format!("{name}.key")),
        }
    }

    fn stamp(&self) -> Stamp {
        [&self.ca, &self.certificate, &self.key].map(|path| {
            fs::metadata(path)
                .map(|about| (about.ino(), about.len(), about.ctime(), about.ctime_nsec()))
                .ok()
        })
    }

    fn load(&self) -> Result<Loaded, Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots
                .add(certificate)
                .map_err(|error| wrong(&self.ca, error))?;
        }
        let chain = certificates(&self.certificate)?;
        let own = chain
            .first()
            .ok_or_else(|| wrong(&self.certificate, "it holds no certificate"))?;
        let about = Certificate::read(own).map_err(|why| wrong(&self.certificate, why))?;
        let now = SystemTime::now();
        if about.until < now {
            return Err(wrong(&self.certificate, "it has expired"));
        }
        if about.from > now {
            return Err(wrong(&self.certificate, "it does not hold yet"));
        }
        let pem = fs::read(&self.key).map_err(io("read", &self.key))?;
        let key = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|error| wrong(&self.key, format!("it holds no private key: {error}")))?;
        if about.left() < ENDS_SOON {
            tracing::warn!(
                "{} expires within {} days: replace it",
                self.certificate.display(),
                about.left().as_secs() / (24 * 3600) + 1
            );
        }
        Ok(Loaded {
            provider,
            roots: Arc::new(roots),
            chain,
            key,
            about,
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = fs::read(path).map_err(io("read", path))?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(path, error))?;
    if found.is_empty() {
        return Err(wrong(path, "it holds no certificate"));
    }
    Ok(found)
}

/// State of the three files, which any change alters.
type Stamp = [Option<(u64, u64, i64, i64)>; 3];

struct Loaded {
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    about: Certificate,
}

/// The last good pair, converted to `T`.
#[derive(Debug)]
struct Reloading<T> {
    files: Files,
    make: fn(&Files, Loaded) -> Result<T, Error>,
    kept: Mutex<Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    good: Option<Arc<T>>,
    tried: Option<Stamp>,
}

impl<T> Reloading<T> {
    fn new(files: Files, make: fn(&Files, Loaded) -> Result<T, Error>) -> Self {
        let kept = Kept {
            good: None,
            tried: None,
        };
        Self {
            files,
            make,
            kept: Mutex::new(kept),
        }
    }

    fn current(&self) -> Result<Arc<T>, Error> {
        // The value is consistent even after a panic, because each field is set at
        // once.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = self.files.stamp();
        if let Some(good) = &kept.good
            && kept.tried == Some(stamp)
        {
            return Ok(Arc::clone(good));
        }
        let loaded = self
            .files
            .load()
            .and_then(|loaded| (self.make)(&self.files, loaded));
        kept.tried = Some(stamp);
        match (loaded, &kept.good) {
            (Ok(new), before) => {
                if before.is_some() {
                    tracing::info!("{} is in use now", self.files.certificate.display());
                }
                let new = Arc::new(new);
                kept.good = Some(Arc::clone(&new));
                Ok(new)
            }
            (Err(error), Some(good)) => {
                tracing::error!("{error}; the certificate and key before it stay in use");
                Ok(Arc::clone(good))
            }
            (Err(error), None) => Err(error),
        }
    }
}

/// The keys of a collector.
#[derive(Debug)]
pub struct CollectorKeys(Reloading<Arc<ServerConfig>>);

impl CollectorKeys {
    /// Reads the files, which must be valid now.
    ///
    /// # Errors
    ///
    /// The files are missing or invalid.
    pub fn open(files: Files) -> Result<Self, Error> {
        let keys = Self(Reloading::new(files, server));
        keys.current()?;
        Ok(keys)
    }

    /// The configuration for accepting the next connection.
    ///
    /// # Errors
    ///
    /// No pair was ever valid.
    pub(crate) fn current(&self) -> Result<Arc<ServerConfig>, Error> {
        Ok(Arc::clone(&*self.0.current()?))
    }
}

/// The keys of a host.
#[derive(Debug)]
pub struct HostKeys(Reloading<HostPair>);

/// The configuration of a host's connections.
#[derive(Debug)]
pub(crate) struct HostPair {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) host: HostId,
}

impl HostKeys {
    /// The files are read at the first connection: a recorder does not wait for them.
    pub fn new(files: Files) -> Self {
        Self(Reloading::new(files, client))
    }

    /// The configuration for the next connection.
    ///
    /// # Errors
    ///
    /// No pair was ever valid.
    pub(crate) fn current(&self) -> Result<Arc<HostPair>, Error> {
        self.0.current()
    }
}

fn server(files: &Files, loaded: Loaded) -> Result<Arc<ServerConfig>, Error> {
    let Loaded {
        provider,
        roots,
        chain,
        key,
        about: _,
    } = loaded;
    vouched(&provider, &roots, &chain).map_err(|error| {
        wrong(
            &files.certificate,
            format!("by {}: {error}", files.ca.display()),
        )
    })?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(|error| wrong(&files.ca, error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| wrong(&files.certificate, error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&files.certificate, error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would skip the check of the present certificates.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Verifies that the CA signed a collector's own certificate.
fn vouched(
    provider: &CryptoProvider,
    roots: &RootCertStore,
    chain: &[CertificateDer<'static>],
) -> Result<(), rustls::Error> {
    let Some((own, between)) = chain.split_first() else {
        return Err(rustls::Error::NoCertificatesPresented);
    };
    rustls::client::verify_server_cert_signed_by_trust_anchor(
        &ParsedCertificate::try_from(own)?,
        roots,
        between,
        UnixTime::now(),
        provider.signature_verification_algorithms.all,
    )
}

fn client(files: &Files, loaded: Loaded) -> Result<HostPair, Error> {
    let Loaded {
        provider,
        roots,
        chain,
        key,
        about,
    } = loaded;
    let host = about
        .host
        .ok_or_else(|| wrong(&files.certificate, "it names no host"))?;
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| wrong(&files.ca, error))?;
    if let Some((own, between)) = chain.split_first() {
        verifier
            .verify_client_cert(own, between, UnixTime::now())
            .map_err(|error| {
                wrong(
                    &files.certificate,
                    format!("by {}: {error}", files.ca.display()),
                )
            })?;
    }
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| wrong(&files.certificate, error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| wrong(&files.certificate, error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(HostPair {
        config: Arc::new(config),
        host,
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::super::{make_ca, make_collector, make_host};
    use super::*;

    const YEAR: u32 = 365;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            let place = Self(tempfile::tempdir().unwrap());
            make_ca(&place.at("ca"), YEAR).unwrap();
            place
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn host(&self, name: &str) -> PathBuf {
            let folder = self.at(name);
            make_host(&self.at("ca"), &folder, &name.parse().unwrap(), YEAR).unwrap();
            folder
        }
    }

    /// N6: certificate and key differ in the middle of a rotation.
    #[test]
    fn a_broken_new_pair_keeps_the_old_one_until_it_is_whole() {
        let place = Place::new();
        let (live, new) = (place.host("a"), place.host("b"));
        let keys = HostKeys::new(Files::of_host(&live));
        let host = || keys.current().unwrap().host.to_string();
        assert_eq!(host(), "a");
        fs::copy(new.join("host.pem"), live.join("host.pem")).unwrap();
        assert_eq!(host(), "a");
        fs::copy(new.join("host.key"), live.join("host.key")).unwrap();
        assert_eq!(host(), "b");
        fs::write(live.join("host.pem"), "rubbish").unwrap();
        assert_eq!(host(), "b");
        fs::remove_file(live.join("ca.pem")).unwrap();
        assert_eq!(host(), "b");
    }

    #[test]
    fn a_pair_that_its_own_ca_does_not_stand_for_is_refused() {
        let (place, other) = (Place::new(), Place::new());
        let host = place.host("a");
        let collector = place.at("c");
        let names = ["localhost".to_owned()];
        make_collector(&place.at("ca"), &collector, &names, YEAR).unwrap();
        CollectorKeys::open(Files::of_collector(&collector)).unwrap();
        for folder in [&host, &collector] {
            fs::copy(other.at("ca/ca.pem"), folder.join("ca.pem")).unwrap();
        }
        assert!(HostKeys::new(Files::of_host(&host)).current().is_err());
        assert!(CollectorKeys::open(Files::of_collector(&collector)).is_err());
    }

    #[test]
    fn keys_are_their_owners_only_and_never_overwritten() {
        let place = Place::new();
        let host = place.host("a");
        for key in [place.at("ca/ca.key"), host.join("host.key")] {
            assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600);
        }
        let before = fs::read(host.join("host.key")).unwrap();
        let again = make_host(&place.at("ca"), &host, &"a".parse().unwrap(), YEAR);
        assert!(again.is_err());
        assert!(make_ca(&place.at("ca"), YEAR).is_err());
        assert_eq!(fs::read(host.join("host.key")).unwrap(), before);
    }
}
