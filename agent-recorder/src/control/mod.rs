//! Operators' commands to the daemon, over a unix socket.
//!
//! The recorder's thread is synchronous: requests reach it through a queue
//! with a descriptor that wakes it, and carry the place for their answer.
//!
//! Not here: what a command does (`daemon`).

mod client;
mod server;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::oneshot;

pub use client::Client;
pub use server::{Server, serve};

use crate::config::Answer;
use crate::record::{SessionId, proto};

/// An error of the control room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error("no daemon answers at {path}; start one with `agent-recorder daemon`")]
    NoDaemon {
        /// The socket.
        path: PathBuf,
    },
    /// The socket cannot be made.
    #[error("cannot {what} {path}: {source}")]
    Socket {
        /// What was being done.
        what: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The daemon said no.
    #[error("the daemon refuses: {0}")]
    Refused(String),
    /// The queue's descriptor cannot be made.
    #[error("cannot make an eventfd: {0}")]
    Queue(io::Error),
}

/// Where the socket is: in /run for the default state directory, else in it.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    if state_dir == Path::new(crate::config::DEFAULT_STATE_DIR) {
        PathBuf::from("/run/agent-recorder/control.sock")
    } else {
        state_dir.join("control.sock")
    }
}

/// What a command asks of the recorder.
#[derive(Debug)]
pub enum Request {
    /// Puts a child of the caller into a session of its own.
    Register {
        /// The child; it waits before its exec.
        pid: u32,
        /// The session's name.
        name: String,
        /// The agent's name.
        agent: String,
        /// Its id.
        reply: oneshot::Sender<Result<SessionId, String>>,
    },
    /// Answers when the session has ended.
    Wait {
        /// Which.
        session: SessionId,
        /// What it was.
        reply: oneshot::Sender<Result<proto::SessionInfo, String>>,
    },
    /// All that run.
    Sessions {
        /// The list.
        reply: oneshot::Sender<proto::SessionsResponse>,
    },
    /// Signals every process of a session.
    Act {
        /// Which.
        session: SessionId,
        /// How.
        act: Act,
        /// The process that asks.
        caller: Option<u32>,
        /// What came of it.
        reply: oneshot::Sender<Result<proto::ActionResponse, String>>,
    },
    /// A person's answer for a program that is held.
    Decide {
        /// Which.
        hold: String,
        /// The answer.
        answer: Answer,
        /// The process that asks.
        caller: Option<u32>,
        /// Its user.
        uid: u32,
        /// The program's arguments.
        reply: oneshot::Sender<Result<Vec<Vec<u8>>, String>>,
    },
    /// About the daemon.
    Status {
        /// The answer.
        reply: oneshot::Sender<proto::StatusResponse>,
    },
    /// Ends the daemon.
    Stop,
}

/// What is done to a whole session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL, until none is left.
    Kill,
    /// SIGSTOP.
    Freeze,
    /// SIGCONT.
    Resume,
}

/// The sending end.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: mpsc::Sender<Request>,
    wake: Arc<OwnedFd>,
}

/// The recorder's end.
#[derive(Debug)]
pub struct Receiver {
    queue: mpsc::Receiver<Request>,
    wake: Arc<OwnedFd>,
}

/// A queue of requests.
///
/// # Errors
///
/// No descriptor is left.
pub fn queue() -> Result<(Sender, Receiver), Error> {
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Error::Queue(errno.into()))?;
    let wake = Arc::new(wake);
    let (sender, receiver) = mpsc::channel();
    Ok((
        Sender {
            queue: sender,
            wake: Arc::clone(&wake),
        },
        Receiver {
            queue: receiver,
            wake,
        },
    ))
}

impl Sender {
    /// Hands a request over; it is dropped, and with it the place for its answer, when the recorder has ended.
    pub fn send(&self, request: Request) {
        if self.queue.send(request).is_ok() {
            // Full (2^64 - 1 wake-ups nobody took): the recorder is awake all the same.
            let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }
}

impl Receiver {
    /// Readable while a request waits.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Takes what waits.
    pub fn take(&self) -> Vec<Request> {
        let mut count = [0; 8];
        // Nothing to read: somebody else's wake-up.
        let _ = rustix::io::read(&*self.wake, &mut count);
        self.queue.try_iter().collect()
    }
}
