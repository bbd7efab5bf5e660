//! Operators' commands to the daemon, over a unix socket.
//!
//! The recorder's thread is synchronous: requests reach it through a queue with a
//! descriptor that wakes it, and contain a channel for the answer.
//!
//! Not here: the effect of a command (`daemon`).

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

/// An error of the control socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No daemon listens.
    #[error("no daemon answers at {path}; start one with `agent-recorder daemon`")]
    NoDaemon {
        /// The socket.
        path: PathBuf,
    },
    /// The socket cannot be created.
    #[error("cannot {what} {path}: {source}")]
    Socket {
        /// What was being done.
        what: &'static str,
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The daemon refused the command.
    #[error("the daemon refuses: {0}")]
    Refused(String),
    /// The queue's descriptor cannot be created.
    #[error("cannot make an eventfd: {0}")]
    Queue(io::Error),
}

/// The path of the socket: in /run for the default state directory, otherwise in the
/// state directory.
pub fn socket_path(state_dir: &Path) -> PathBuf {
    if state_dir == Path::new(crate::config::DEFAULT_STATE_DIR) {
        PathBuf::from("/run/agent-recorder/control.sock")
    } else {
        state_dir.join("control.sock")
    }
}

/// The session that a registered process is in.
#[derive(Clone, Copy, Debug)]
pub struct Registered {
    /// The session's id.
    pub session: SessionId,
    /// The process was a member before: no session began.
    pub joined: bool,
}

/// A command for the recorder.
#[derive(Debug)]
pub enum Request {
    /// Puts a child of the caller into a new session.
    Register {
        /// The child; it waits before its exec.
        pid: u32,
        /// The session's name.
        name: String,
        /// The agent's name.
        agent: String,
        /// Receives the session that the child is in.
        reply: oneshot::Sender<Result<Registered, String>>,
    },
    /// Waits for the end of a session.
    Wait {
        /// The session.
        session: SessionId,
        /// Receives the session's data.
        reply: oneshot::Sender<Result<proto::SessionInfo, String>>,
    },
    /// Lists the running sessions, and the held programs.
    Sessions {
        /// Receives the list.
        reply: oneshot::Sender<proto::SessionsResponse>,
    },
    /// Signals every process of a session.
    Act {
        /// The session.
        session: SessionId,
        /// The action.
        act: Act,
        /// The calling process.
        caller: Option<u32>,
        /// Receives the result.
        reply: oneshot::Sender<Result<proto::ActionResponse, String>>,
    },
    /// A person's answer for a held program.
    Decide {
        /// Name of the hold.
        hold: String,
        /// The answer.
        answer: Answer,
        /// The calling process.
        caller: Option<u32>,
        /// User of the caller.
        uid: u32,
        /// Receives the program's arguments.
        reply: oneshot::Sender<Result<Vec<Vec<u8>>, String>>,
    },
    /// Asks for the daemon's status.
    Status {
        /// Receives the status.
        reply: oneshot::Sender<proto::StatusResponse>,
    },
    /// Ends the daemon.
    Stop,
}

/// An action on a whole session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Kills every process.
    Kill,
    /// Stops every process.
    Freeze,
    /// Continues every process.
    Resume,
}

/// The end of the callers.
#[derive(Clone, Debug)]
pub struct Sender {
    queue: mpsc::Sender<Request>,
    wake: Arc<OwnedFd>,
}

/// The end of the recorder.
#[derive(Debug)]
pub struct Receiver {
    queue: mpsc::Receiver<Request>,
    wake: Arc<OwnedFd>,
}

/// A queue of requests.
///
/// # Errors
///
/// The process has no descriptor left.
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
    /// Hands a request over. After the recorder's end it is dropped, and its channel
    /// closes.
    pub fn send(&self, request: Request) {
        if self.queue.send(request).is_ok() {
            // The write fails when 2^64 - 1 wake-ups are unread; then the recorder is
            // awake anyway.
            let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
        }
    }
}

impl Receiver {
    /// The descriptor that is readable while a request waits.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Takes all waiting requests.
    pub fn take(&self) -> Vec<Request> {
        let mut count = [0; 8];
        // Nothing to read: an earlier call took this wake-up.
        let _ = rustix::io::read(&*self.wake, &mut count);
        self.queue.try_iter().collect()
    }
}
