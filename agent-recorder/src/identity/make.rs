//! Creates a small private CA for hosts without one.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

use super::{Error, HostId, io, wrong};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Clocks of two hosts differ, so a certificate is valid from a little before its
/// creation.
const EARLIER: Duration = Duration::from_secs(3600);

/// The files that were created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Paths, including those of secret keys.
    pub files: Vec<PathBuf>,
}

/// Creates `ca.pem` and `ca.key`. Whoever has `ca.key` can create any identity.
///
/// # Errors
///
/// A file exists already, or cannot be written.
pub fn make_ca(directory: &Path, days: u32) -> Result<Made, Error> {
    let key = KeyPair::generate()?;
    let mut params = params("agent-recorder CA", days);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    write_all(
        directory,
        &[
            ("ca.key", key.serialize_pem()),
            ("ca.pem", certificate.pem()),
        ],
    )
}

/// Creates `collector.pem`, `collector.key` and a copy of `ca.pem`, for a collector
/// that hosts reach by these DNS names or addresses.
///
/// # Errors
///
/// The CA cannot be read, a name is invalid, or a file exists already.
pub fn make_collector(
    ca: &Path,
    directory: &Path,
    names: &[String],
    days: u32,
) -> Result<Made, Error> {
    let mut params = params("agent-recorder collector", days);
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    signed(ca, directory, params, "collector")
}

/// Creates `host.pem`, `host.key` and a copy of `ca.pem`, for one host.
///
/// # Errors
///
/// The CA cannot be read, or a file exists already.
pub fn make_host(ca: &Path, directory: &Path, host: &HostId, days: u32) -> Result<Made, Error> {
    let mut params = params("agent-recorder host", days);
    params.subject_alt_names = vec![SanType::URI(host.uri().as_str().try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    signed(ca, directory, params, "host")
}

fn params(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    // A clock before 1970 is wrong, and so is the certificate.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(EARLIER);
    params.not_after = epoch + now + DAY * days;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn signed(
    ca: &Path,
    directory: &Path,
    mut params: CertificateParams,
    name: &str,
) -> Result<Made, Error> {
    let read = |name: &str| {
        let path = ca.join(name);
        fs::read_to_string(&path)
            .map_err(io("read", &path))
            .map(|text| (path, text))
    };
    let (certificate_path, certificate) = read("ca.pem")?;
    let (key_path, key) = read("ca.key")?;
    let key = KeyPair::from_pem(&key).map_err(|error| wrong(&key_path, error))?;
    let issuer = Issuer::from_ca_cert_pem(&certificate, key)
        .map_err(|error| wrong(&certificate_path, error))?;
    let own = KeyPair::generate()?;
    params.use_authority_key_identifier_extension = true;
    let made = params.signed_by(&own, &issuer)?;
    write_all(
        directory,
        &[
            (&format!("{name}.key"), own.serialize_pem()),
            (&format!("{name}.pem"), made.pem()),
            ("ca.pem", certificate),
        ],
    )
}

/// Writes all files. A file that exists already is an error before any is written.
fn write_all(directory: &Path, files: &[(&str, String)]) -> Result<Made, Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(io("create", directory))?;
    for (name, _) in files {
        let path = directory.join(name);
        if fs::symlink_metadata(&path).is_ok() {
            return Err(wrong(
                &path,
                "it is there already and stays; name another directory",
            ));
        }
    }
    let mut made = Made { files: Vec::new() };
    for (name, content) in files {
        let path = directory.join(name);
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(io("create", &path))?;
        file.write_all(content.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(io("write", &path))?;
        made.files.push(path);
    }
    Ok(made)
}
