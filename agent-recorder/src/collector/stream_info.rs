//! Files beside a copy: the owner of the stream, and the daemon's last status.
//!
//! `owner` is written once, at the stream's first Hello, and binds the stream to that
//! identity. `about.json` is for people, and is written at every heartbeat.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::record::proto;

const OWNER: &str = "owner";
const ABOUT: &str = "about.json";
/// Most bytes of each text in a Hello: host names have 64, ids 36, identities 128.
const MOST_TEXT: usize = 256;

/// The owner of the stream in `folder`; `None` before its first Hello.
pub(super) fn owner(folder: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(folder.join(OWNER)) {
        Ok(owner) => Ok(Some(owner)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Binds a stream without an owner. The file appears whole or not at all: a crash
/// leaves no empty one.
pub(super) fn bind(folder: &Path, identity: &str) -> io::Result<()> {
    replace(folder, OWNER, identity.as_bytes())
}

fn replace(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// The field of a Hello that is too long.
pub(super) fn too_long(hello: &proto::Hello) -> Option<&'static str> {
    let proto::Hello {
        protocol: _,
        stream_id: _,
        host_id,
        boot_id,
        hostname,
        version,
        first_seq: _,
        last_seq: _,
    } = hello;
    [
        ("host_id", host_id),
        ("boot_id", boot_id),
        ("hostname", hostname),
        ("version", version),
    ]
    .into_iter()
    .find_map(|(name, text)| (text.len() > MOST_TEXT).then_some(name))
}

/// The daemon's last status.
#[derive(Debug)]
pub(super) struct StreamInfo {
    folder: PathBuf,
    hello: proto::Hello,
    peer: String,
}

impl StreamInfo {
    pub(super) fn new(folder: PathBuf, hello: proto::Hello, peer: String) -> Self {
        Self {
            folder,
            hello,
            peer,
        }
    }

    /// Writes the status. It is for people: a failure is logged and stops nothing.
    pub(super) fn write(&self, connected: bool, beat: &proto::Heartbeat) {
        let about = json!({
            "connected": connected,
            "peer": self.peer,
            "hostId": self.hello.host_id,
            "bootId": self.hello.boot_id,
            "hostname": self.hello.hostname,
            "version": self.hello.version,
            "firstSeq": self.hello.first_seq,
            "lastSeq": beat.last_seq.max(self.hello.last_seq),
            "lost": beat.lost,
            "unacknowledgedBatches": beat.unacknowledged_batches,
            "unacknowledgedBytes": beat.unacknowledged_bytes,
            "heard": jiff::Timestamp::now().to_string(),
        });
        let text = format!("{about:#}\n");
        if let Err(error) = replace(&self.folder, ABOUT, text.as_bytes()) {
            tracing::warn!(
                "cannot write {}: {error}",
                self.folder.join(ABOUT).display()
            );
        }
    }
}
