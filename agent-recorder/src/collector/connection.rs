//! Accepting: how many connections there may be, and when one is given up.
//!
//! A connection on which nothing arrives is closed, whatever it is: a
//! half-open one, one that never says what it wants, one that says it a byte
//! an hour. A daemon that lives answers a ping every ten seconds.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tonic::transport::server::Connected;

/// Three pings of the collector, or heartbeats of the daemon, that did not come.
const SILENCE: Duration = Duration::from_secs(30);
/// After accept(2) failed, for want of descriptors mostly.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Accepted connections that the server has not taken.
const QUEUED: usize = 16;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
}

/// Accepts in a task of its own, for as long as what it gives back is read.
pub(super) fn accept(listener: TcpListener, most: usize) -> mpsc::Receiver<io::Result<Connection>> {
    let (accepted, connections) = mpsc::channel(QUEUED);
    let room = Arc::new(Semaphore::new(most));
    tokio::spawn(async move {
        let turned_away = AtomicU64::new(0);
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
                // Told of at the first, the second, the fourth …: a flood does not fill the log.
                let count = turned_away.fetch_add(1, Ordering::Relaxed) + 1;
                if count.is_power_of_two() {
                    tracing::warn!(
                        "{most} connections are open, {address} is turned away; {count} were so far"
                    );
                }
                continue;
            };
            // What fails here fails at the first read, too.
            let _ = stream.set_nodelay(true);
            let connection = Connection::new(stream, Peer { address }, permit);
            if accepted.send(Ok(connection)).await.is_err() {
                return;
            }
        }
    });
    connections
}

/// One connection, closed when nothing arrives for too long.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    peer: Peer,
    silence: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: TcpStream, peer: Peer, permit: OwnedSemaphorePermit) -> Self {
        Self {
            stream,
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
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            this.silence.as_mut().reset(Instant::now() + SILENCE);
            return Poll::Ready(read);
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
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
