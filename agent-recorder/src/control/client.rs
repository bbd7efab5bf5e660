//! The command line's side of the socket, as blocking calls.

use std::path::Path;
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::{Act, Error, Registered};
use crate::config::Answer;
use crate::record::{SessionId, proto};
use proto::control_client::ControlClient;

/// Wait between two attempts to reach a daemon.
const RECONNECT: Duration = Duration::from_millis(200);

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    runtime: Runtime,
    client: ControlClient<Channel>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    ///
    /// No daemon answers there.
    pub fn connect(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::Socket {
            what: "connect to",
            path: path.to_owned(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(failed)?;
        let socket = path.to_owned();
        // The address is a placeholder: the connector opens a unix socket.
        let endpoint = Endpoint::from_static("http://control");
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = runtime.block_on(endpoint.connect_with_connector(connector));
        let channel = channel.map_err(|_| Error::NoDaemon {
            path: path.to_owned(),
        })?;
        Ok(Self {
            runtime,
            client: ControlClient::new(channel),
        })
    }

    /// Puts a child of the caller into a session: a new one, or the caller's own.
    ///
    /// # Errors
    ///
    /// The daemon refuses.
    pub fn register(&mut self, pid: u32, agent: &str, name: &str) -> Result<Registered, Error> {
        let request = proto::RegisterRequest {
            pid,
            name: name.to_owned(),
            agent: agent.to_owned(),
        };
        let response = self
            .runtime
            .block_on(self.client.register(request))
            .map_err(refused)?
            .into_inner();
        let session = SessionId::from_bytes(&response.session_id)
            .ok_or_else(|| Error::Refused("it gave no session id".to_owned()))?;
        Ok(Registered {
            session,
            joined: response.joined,
        })
    }

    /// Waits until a session has ended. If the daemon dies meanwhile, the wait
    /// continues with the next daemon that knows the session.
    ///
    /// # Errors
    ///
    /// The daemon does not know the session, or no daemon answered for `most`.
    pub fn wait(
        &mut self,
        session: SessionId,
        most: Duration,
    ) -> Result<proto::SessionInfo, Error> {
        let request = proto::WaitRequest {
            session_id: session.to_bytes(),
        };
        let mut lost: Option<Instant> = None;
        loop {
            let asked = Instant::now();
            match self.runtime.block_on(self.client.wait(request.clone())) {
                Ok(response) => return Ok(response.into_inner().session.unwrap_or_default()),
                Err(status) if status.code() == Code::NotFound => return Err(refused(status)),
                Err(status) => {
                    // A daemon that answered only after the pause was running
                    // meanwhile.
                    if asked.elapsed() > RECONNECT {
                        lost = None;
                    }
                    if lost.get_or_insert_with(Instant::now).elapsed() > most {
                        return Err(refused(status));
                    }
                    std::thread::sleep(RECONNECT);
                }
            }
        }
    }

    /// The running sessions, and the held programs.
    ///
    /// # Errors
    ///
    /// The daemon refuses.
    pub fn sessions(&mut self) -> Result<proto::SessionsResponse, Error> {
        let response = self
            .runtime
            .block_on(self.client.sessions(proto::SessionsRequest {}))
            .map_err(refused)?;
        Ok(response.into_inner())
    }

    /// The status of the daemon.
    ///
    /// # Errors
    ///
    /// The daemon refuses.
    pub fn status(&mut self) -> Result<proto::StatusResponse, Error> {
        let response = self
            .runtime
            .block_on(self.client.status(proto::StatusRequest {}))
            .map_err(refused)?;
        Ok(response.into_inner())
    }

    /// Answers for a held program. Returns its arguments.
    ///
    /// # Errors
    ///
    /// The daemon refuses.
    pub fn decide(&mut self, hold: &str, answer: Answer) -> Result<Vec<Vec<u8>>, Error> {
        let request = proto::DecideRequest {
            hold: hold.to_owned(),
            approve: answer == Answer::Approve,
        };
        let response = self
            .runtime
            .block_on(self.client.decide(request))
            .map_err(refused)?;
        Ok(response.into_inner().argv)
    }

    /// Kills, freezes or resumes a session.
    ///
    /// # Errors
    ///
    /// The daemon refuses.
    pub fn act(&mut self, session: SessionId, act: Act) -> Result<proto::ActionResponse, Error> {
        let request = proto::SessionRequest {
            session_id: session.to_bytes(),
        };
        let response = self.runtime.block_on(async {
            match act {
                Act::Kill => self.client.kill(request).await,
                Act::Freeze => self.client.freeze(request).await,
                Act::Resume => self.client.resume(request).await,
            }
        });
        Ok(response.map_err(refused)?.into_inner())
    }
}

fn refused(status: tonic::Status) -> Error {
    Error::Refused(status.message().to_owned())
}
