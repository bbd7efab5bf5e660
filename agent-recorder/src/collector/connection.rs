//! Accepts connections: their number, their identity, and the time after which one is
//! closed.
//!
//! A connection without incoming data is closed: a half-open one, one that never
//! sends a request, one that sends a byte an hour. A living daemon answers a ping
//! every ten seconds.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::identity::{Certificate, CollectorKeys, HostId};

/// Time without data: three missed pings of the collector, or heartbeats of the
/// daemon.
const SILENCE: Duration = Duration::from_secs(30);
/// Interval between log lines about refused connections: a flood does not fill the
/// log.
const COMPLAINTS: Duration = Duration::from_secs(1);
/// Wait after accept(2) failed, mostly for want of descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Longest handshake: it takes two round trips and some ms of work.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Most accepted connections that the server has not taken.
const QUEUED: usize = 16;

/// The peer of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// Identity in its certificate; `None` without TLS.
    pub(super) identity: Option<Identity>,
}

/// The identity of a host, by its certificate.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) host: HostId,
    pub(super) until: SystemTime,
}

/// Accepts in a task of its own, as long as the returned receiver is read. With keys,
/// every returned connection has shown a certificate of the CA.
pub(super) fn accept(
    listener: TcpListener,
    most: usize,
    keys: Option<CollectorKeys>,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(QUEUED);
    let room = Arc::new(Semaphore::new(most));
    let keys = keys.map(Arc::new);
    tokio::spawn(async move {
        let complaints = Arc::new(Complaints::default());
        while !accepted.is_closed() {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                complaints.log(address, &format!("{most} connections are open"));
                continue;
            };
            // If this fails, the first read fails, too.
            let _ = stream.set_nodelay(true);
            match &keys {
                None => {
                    let peer = Peer {
                        address,
                        identity: None,
                    };
                    let connection = Connection::new(Io::Plain(stream), peer, permit);
                    if accepted.send(Ok(connection)).await.is_err() {
                        return;
                    }
                }
                // The handshake has a task of its own, so that a slow peer delays no
                // other.
                Some(keys) => {
                    let (keys, accepted) = (Arc::clone(keys), accepted.clone());
                    let complaints = Arc::clone(&complaints);
                    tokio::spawn(async move {
                        match timeout(HANDSHAKE, identify(&keys, stream)).await {
                            Ok(Ok((stream, identity))) => {
                                let peer = Peer {
                                    address,
                                    identity: Some(identity),
                                };
                                let connection =
                                    Connection::new(Io::Tls(Box::new(stream)), peer, permit);
                                // A failure means that the server has ended.
                                let _ = accepted.send(Ok(connection)).await;
                            }
                            Ok(Err(why)) => complaints.log(address, &why),
                            Err(_) => complaints.log(address, "no handshake came"),
                        }
                    });
                }
            }
        }
    });
    connections
}

/// Log lines about refused connections.
#[derive(Debug, Default)]
struct Complaints(Mutex<(Option<Instant>, u64)>);

impl Complaints {
    fn log(&self, address: SocketAddr, why: &str) {
        let now = Instant::now();
        // Both values are set at once, so a panic elsewhere leaves them consistent.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.is_some_and(|last| now < last + COMPLAINTS) {
            told.1 += 1;
            return;
        }
        let untold = std::mem::take(&mut told.1);
        told.0 = Some(now);
        tracing::warn!("{address} is turned away: {why} ({untold} more since the last)");
    }
}

async fn identify(
    keys: &CollectorKeys,
    stream: TcpStream,
) -> Result<(TlsStream<TcpStream>, Identity), String> {
    let config = keys.current().map_err(|error| error.to_string())?;
    let stream = TlsAcceptor::from(config)
        .accept(stream)
        .await
        .map_err(|error| error.to_string())?;
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates
        .and_then(<[_]>::first)
        .ok_or("it shows no certificate")?;
    let Certificate {
        host,
        from: _,
        until,
    } = Certificate::read(certificate)?;
    let host = host.ok_or("its certificate names no host")?;
    Ok((stream, Identity { host, until }))
}

#[derive(Debug)]
enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// One connection, which is closed when nothing arrives for too long.
#[derive(Debug)]
pub(super) struct Connection {
    io: Io,
    peer: Peer,
    silence: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(io: Io, peer: Peer, permit: OwnedSemaphorePermit) -> Self {
        Self {
            io,
            peer,
            silence: Box::pin(sleep_until(Instant::now() + SILENCE)),
            _permit: permit,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = match &mut this.io {
            Io::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Io::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        };
        if read.is_ready() {
            this.silence.as_mut().reset(Instant::now() + SILENCE);
            return read;
        }
        ready!(this.silence.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Io::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_flush(context),
            Io::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Io::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
