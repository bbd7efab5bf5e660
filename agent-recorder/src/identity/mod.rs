//! Who is at the other end: mutual TLS 1.3 under a small private CA.
//!
//! A host is what the URI in its certificate's alternative names says,
//! `agent-recorder://host/ID`; a collector is known by its DNS name or
//! address. Older versions of TLS are not compiled in, sessions are not
//! resumed, and there is no way from here to plaintext.
//!
//! Not here: what an identity may do (`collector`).

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

/// What a host's name begins with.
const HOST_URI: &str = "agent-recorder://host/";
/// Characters of a host's id: a machine id has 32, a UUID 36, a DNS name 253 at most.
const MOST_ID: usize = 253;

/// An error with keys or certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Something in a file is not what it should be.
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
    /// An id has other characters.
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

/// A host's name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostId(String);

impl HostId {
    /// As text.
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

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The host; `None` in a collector's or a CA's.
    pub host: Option<HostId>,
    /// From when it holds.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

impl Certificate {
    /// Reads one. Whether anybody vouches for it is not looked at.
    ///
    /// # Errors
    ///
    /// It is none, or names more than one host.
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

    /// Time that is left; none when it has ended.
    pub fn left(&self) -> Duration {
        self.until
            .duration_since(SystemTime::now())
            .unwrap_or_default()
    }
}

/// Seconds since 1970; what is before is 1970.
fn moment(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
