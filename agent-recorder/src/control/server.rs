//! The daemon's side of the socket, and the rights of its callers.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Response, Status};

use super::{Act, Error, Request, Sender};
use crate::config::Answer;
use crate::record::{SessionId, proto};
use proto::control_server::{Control, ControlServer};

/// The listening socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Another process has removed the file already.
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens in the running tokio runtime, until that ends.
///
/// # Errors
///
/// The socket cannot be created, or another daemon listens there.
pub fn serve(path: &Path, requests: Sender) -> Result<Server, Error> {
    let failed = |what| {
        move |source| Error::Socket {
            what,
            path: path.to_owned(),
            source,
        }
    };
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(failed("make the directory of"))?;
    }
    if UnixStream::connect(path).is_ok() {
        let taken = std::io::Error::other("another daemon answers there");
        return Err(failed("listen at")(taken));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("replace")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("listen at"))?;
    // Every user may register its own children; each call is checked by its peer.
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
        .map_err(failed("set the permissions of"))?;
    let service = ControlServer::new(Service { requests });
    tokio::spawn(async move {
        let incoming = UnixListenerStream::new(listener);
        if let Err(error) = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming)
            .await
        {
            tracing::error!("the control socket failed: {error}");
        }
    });
    Ok(Server {
        path: path.to_owned(),
    })
}

struct Service {
    requests: Sender,
}

/// The caller, by its socket (SO_PEERCRED).
struct Peer {
    pid: Option<i32>,
    uid: u32,
}

fn peer<T>(request: &tonic::Request<T>) -> Result<Peer, Status> {
    let credentials = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    let credentials = credentials
        .ok_or_else(|| Status::unauthenticated("the caller's credentials cannot be read"))?;
    Ok(Peer {
        pid: credentials.pid(),
        uid: credentials.uid(),
    })
}

impl Peer {
    fn process(&self) -> Option<u32> {
        self.pid.and_then(|pid| u32::try_from(pid).ok())
    }

    /// Admits root and the daemon's own user.
    fn must_be_operator(&self) -> Result<(), Status> {
        if self.uid == 0 || self.uid == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        Err(Status::permission_denied(
            "only root, or the daemon's user, may do this",
        ))
    }

    /// Refuses a process that the caller did not create.
    fn must_be_parent_of(&self, pid: u32) -> Result<(), Status> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = status
            .lines()
            .find_map(|line| line.strip_prefix("PPid:")?.trim().parse::<i32>().ok());
        if parent.is_some() && parent == self.pid {
            return Ok(());
        }
        Err(Status::permission_denied(format!(
            "process {pid} is not the caller's child"
        )))
    }
}

impl Service {
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, Status> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply));
        answer
            .await
            .map_err(|_| Status::unavailable("the recorder has ended"))
    }

    async fn act(
        &self,
        request: tonic::Request<proto::SessionRequest>,
        act: Act,
    ) -> Result<Response<proto::ActionResponse>, Status> {
        let caller = peer(&request)?;
        caller.must_be_operator()?;
        let session = session_id(&request.get_ref().session_id)?;
        let result = self
            .ask(|reply| Request::Act {
                session,
                act,
                caller: caller.process(),
                reply,
            })
            .await?;
        result
            .map(Response::new)
            .map_err(Status::failed_precondition)
    }
}

fn session_id(bytes: &[u8]) -> Result<SessionId, Status> {
    SessionId::from_bytes(bytes)
        .ok_or_else(|| Status::invalid_argument("a session id has 16 bytes"))
}

#[tonic::async_trait]
impl Control for Service {
    async fn register(
        &self,
        request: tonic::Request<proto::RegisterRequest>,
    ) -> Result<Response<proto::RegisterResponse>, Status> {
        let caller = peer(&request)?;
        let proto::RegisterRequest { pid, name, agent } = request.into_inner();
        caller.must_be_parent_of(pid)?;
        let result = self
            .ask(|reply| Request::Register {
                pid,
                name,
                agent,
                reply,
            })
            .await?;
        let registered = result.map_err(Status::internal)?;
        Ok(Response::new(proto::RegisterResponse {
            session_id: registered.session.to_bytes(),
            joined: registered.joined,
        }))
    }

    async fn wait(
        &self,
        request: tonic::Request<proto::WaitRequest>,
    ) -> Result<Response<proto::WaitResponse>, Status> {
        let session = session_id(&request.get_ref().session_id)?;
        let result = self.ask(|reply| Request::Wait { session, reply }).await?;
        let info = result.map_err(Status::not_found)?;
        Ok(Response::new(proto::WaitResponse {
            session: Some(info),
        }))
    }

    async fn sessions(
        &self,
        request: tonic::Request<proto::SessionsRequest>,
    ) -> Result<Response<proto::SessionsResponse>, Status> {
        peer(&request)?.must_be_operator()?;
        let sessions = self.ask(|reply| Request::Sessions { reply }).await?;
        Ok(Response::new(sessions))
    }

    async fn decide(
        &self,
        request: tonic::Request<proto::DecideRequest>,
    ) -> Result<Response<proto::DecideResponse>, Status> {
        let caller = peer(&request)?;
        caller.must_be_operator()?;
        let proto::DecideRequest { hold, approve } = request.into_inner();
        let answer = if approve {
            Answer::Approve
        } else {
            Answer::Deny
        };
        let result = self
            .ask(|reply| Request::Decide {
                hold,
                answer,
                caller: caller.process(),
                uid: caller.uid,
                reply,
            })
            .await?;
        let argv = result.map_err(Status::failed_precondition)?;
        Ok(Response::new(proto::DecideResponse { argv }))
    }

    async fn kill(
        &self,
        request: tonic::Request<proto::SessionRequest>,
    ) -> Result<Response<proto::ActionResponse>, Status> {
        self.act(request, Act::Kill).await
    }

    async fn freeze(
        &self,
        request: tonic::Request<proto::SessionRequest>,
    ) -> Result<Response<proto::ActionResponse>, Status> {
        self.act(request, Act::Freeze).await
    }

    async fn resume(
        &self,
        request: tonic::Request<proto::SessionRequest>,
    ) -> Result<Response<proto::ActionResponse>, Status> {
        self.act(request, Act::Resume).await
    }

    async fn status(
        &self,
        _: tonic::Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusResponse>, Status> {
        Ok(Response::new(
            self.ask(|reply| Request::Status { reply }).await?,
        ))
    }
}
