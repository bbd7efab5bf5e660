//! One act of a traced process, in the common form of strace's and the recorder's accounts.

use std::fmt;

/// Bytes that are shown escaped.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.escape_ascii())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

/// One act and its actor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Act {
    /// The process.
    pub pid: u32,
    /// The thread; `None` where the act is the whole process's (its end).
    pub tid: Option<u32>,
    /// The act.
    pub deed: Deed,
}

impl Act {
    /// Whether a recorded act matches this one of strace's, which may lack a local
    /// address that the kernel chose.
    pub fn is(&self, recorded: &Self) -> bool {
        let (Deed::Network(seen), Deed::Network(got)) = (&self.deed, &recorded.deed) else {
            return self == recorded;
        };
        let mut same = got.clone();
        if chosen_by_kernel(seen, got.local.as_deref()) {
            same.local.clone_from(&seen.local);
        }
        (self.pid, self.tid) == (recorded.pid, recorded.tid) && *seen == same
    }
}

/// Whether the caller named no address, or port 0 (ip(7)).
fn chosen_by_kernel(seen: &Network, got: Option<&str>) -> bool {
    let Some(asked) = seen.local.as_deref() else {
        return true;
    };
    let got = got.and_then(|address| address.rsplit_once(':'));
    match (asked.rsplit_once(':'), got) {
        (Some((asked, "0")), Some((got, port))) => asked == got && port != "0",
        _ => false,
    }
}

/// What was done. An error is an errno's name, `None` for success.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    /// A program was started, or failed to.
    Exec {
        /// The file whose code runs; the requested name if the exec failed.
        exe: Bytes,
        /// The requested name.
        filename: Bytes,
        /// Arguments of the new program.
        argv: Vec<Bytes>,
        /// Working directory.
        cwd: Bytes,
        /// Errno.
        error: Option<String>,
    },
    /// A process was made.
    Fork {
        /// The new one.
        child: u32,
        /// Its parent.
        parent: u32,
    },
    /// A process ended.
    Exit {
        /// Status.
        code: u32,
        /// Number of the signal, 0 for none.
        signal: u32,
        /// Whether a core was dumped.
        core: bool,
    },
    /// A file operation.
    File(File),
    /// A socket operation.
    Network(Network),
    /// A question to a name server.
    Dns(String),
    /// An act on another process. strace's acts on its tracees are not compared.
    Control(String),
}

/// A file operation; what a call does not have is 0 or `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Its name in records.
    pub op: String,
    /// Absolute, links resolved.
    pub path: Bytes,
    /// New name, or a link's target.
    pub new_path: Option<Bytes>,
    /// As given.
    pub flags: u64,
    /// As given.
    pub mode: u32,
    /// New length of a truncate, bytes.
    pub length: u64,
    /// Attribute's name.
    pub xattr: Bytes,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// Errno.
    pub error: Option<String>,
}

/// A socket operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// Its name in records.
    pub op: String,
    /// Its name in records.
    pub transport: String,
    /// The other side, as records show addresses.
    pub peer: Option<String>,
    /// The local address, where strace shows it.
    pub local: Option<String>,
    /// Bytes sent and received, of a CLOSE.
    pub bytes: Option<(u64, u64)>,
    /// Errno.
    pub error: Option<String>,
}
