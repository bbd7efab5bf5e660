//! The report of a stimulus program about itself: one JSON object a line, each an
//! operation that it performed, in the form of the recorder's output.
//!
//! Lines stay in memory until the end, so that reporting adds no operation.

mod abi;

use std::io::Write as _;
use std::net::SocketAddrV4;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use serde_json::{Map, Value, json};

pub use abi::{Abi, Argument, compat, syscall};

/// The operations so far.
#[derive(Debug, Default)]
pub struct Script {
    lines: Vec<Value>,
}

/// Result of a raw system call: a number, or an errno's name as the recorder names it.
pub type Outcome = Result<i64, &'static str>;

/// The result of a call of the C library that has just returned.
pub fn outcome(result: i64) -> Outcome {
    if result >= 0 {
        return Ok(result);
    }
    let errno = std::io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or_default();
    Err(named(errno.unsigned_abs()))
}

/// An errno as the recorder names it.
pub fn named(errno: u32) -> &'static str {
    agent_recorder::record::errno_name(errno).unwrap_or("?")
}

/// A path for the kernel.
pub fn c_path(path: impl AsRef<Path>) -> Argument {
    Argument::new(&[path.as_ref().as_os_str().as_bytes(), b"\0"].concat())
}

/// The actor of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The process.
    pub pid: u32,
    /// The thread; 0 where the report leaves it open.
    pub tid: u32,
    /// The process's parent.
    pub ppid: u32,
}

impl Who {
    /// The running thread.
    pub fn running() -> Self {
        Self {
            pid: std::process::id(),
            tid: rustix::thread::gettid()
                .as_raw_nonzero()
                .get()
                .unsigned_abs(),
            ppid: std::os::unix::process::parent_id(),
        }
    }

    /// The only thread of a child of the running process.
    pub fn child(pid: u32) -> Self {
        Self {
            pid,
            tid: pid,
            ppid: std::process::id(),
        }
    }
}

/// `struct sockaddr_in` (ip(7)).
pub fn sockaddr_in(address: SocketAddrV4) -> Argument {
    let mut bytes = Vec::from((libc::AF_INET as u16).to_ne_bytes());
    bytes.extend(address.port().to_be_bytes());
    bytes.extend(address.ip().octets());
    bytes.extend([0; 8]);
    Argument::new(&bytes)
}

impl Script {
    /// One operation of the running thread.
    pub fn did(&mut self, kind: &str, fields: Value, outcome: Outcome) {
        self.did_as(Who::running(), kind, fields, outcome);
    }

    /// One operation of another process or thread.
    pub fn did_as(&mut self, who: Who, kind: &str, fields: Value, outcome: Outcome) {
        let mut fields = fields;
        if let (Err(name), Some(object)) = (outcome, fields.as_object_mut()) {
            object.insert("error".to_owned(), json!(name));
        }
        let mut line = Map::new();
        line.insert("pid".to_owned(), json!(who.pid));
        if who.tid != 0 {
            line.insert("tid".to_owned(), json!(who.tid));
        }
        line.insert("ppid".to_owned(), json!(who.ppid));
        line.insert(kind.to_owned(), fields);
        self.lines.push(line.into());
    }

    /// Appends the operations of another thread.
    pub fn append(&mut self, other: Self) {
        self.lines.extend(other.lines);
    }

    /// Prints all operations.
    ///
    /// # Errors
    ///
    /// Standard output is closed.
    pub fn tell(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        for line in &self.lines {
            writeln!(out, "{line}")?;
        }
        out.flush()
    }
}
