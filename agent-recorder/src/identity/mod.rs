//! Identities of hosts and collectors: mutual TLS 1.3 under a small private CA.
//!
//! The URI among a certificate's alternative names identifies a host:
//! `agent-recorder://host/ID`. The DNS name or address identifies a collector. Older
//! versions of TLS are not compiled in, sessions are not resumed, and this module has
//! no way to plaintext.
//!
//! Not here: the rights of an identity (`collector`).

mod make;
mod pair;

pub use make::{Made, make_ca, make_collector, make_host};
pub(crate) use pair::HostPair;
pub use pair::{CollectorKeys, Files, HostKeys};

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// Prefix of a host's URI.
const HOST_URI: &str = "agent-recorder://host/";
/// Most characters of a host's id: a machine id has 32, a UUID 36, a DNS name at most
/// 253.
const MOST_ID: usize = 253;

/// An error with keys or certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The contents of a file are wrong.
    #[error("{path}: {why}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A certificate could not be made.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A host id contains other characters than the allowed ones.
    #[error(
        "{0:?} is no host id: letters, digits, '.', '-' and '_', from 1 to 253 of them; name one with --id"
    )]
    HostId(String),
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

fn wrong(path: &Path, why: impl fmt::Display) -> Error {
    Error::Wrong {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

/// A host's id in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostId(String);

impl HostId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn uri(&self) -> String {
        format!("{HOST_URI}{}", self.0)
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for HostId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        if text.is_empty() || text.len() > MOST_ID || !text.bytes().all(allowed) {
            return Err(Error::HostId(text.chars().take(MOST_ID).collect()));
        }
        Ok(Self(text.to_owned()))
    }
}

/// The identity and the validity of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The host; `None` in the certificate of a collector or a CA.
    pub host: Option<HostId>,
    /// Begin of the validity.
    pub from: SystemTime,
    /// End of the validity.
    pub until: SystemTime,
}

impl Certificate {
    /// Reads a certificate. The signature is not verified here.
    ///
    /// # Errors
    ///
    /// The bytes are no certificate, or it names more than one host.
    pub fn read(der: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|error| error.to_string())?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| error.to_string())?;
        let mut hosts = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => uri.strip_prefix(HOST_URI),
                _ => None,
            });
        let host = hosts
            .next()
            .map(str::parse)
            .transpose()
            .map_err(|error: Error| error.to_string())?;
        if hosts.next().is_some() {
            return Err("it names more than one host".to_owned());
        }
        let validity = certificate.validity();
        Ok(Self {
            host,
            from: moment(validity.not_before.timestamp()),
            until: moment(validity.not_after.timestamp()),
        })
    }

    /// Time until the end of the validity; zero afterwards.
    pub fn left(&self) -> Duration {
        self.until
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    }
}

/// Seconds since 1970; an earlier time becomes 1970.
fn moment(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
