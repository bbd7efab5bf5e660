//! The collector: receives the streams of many hosts and stores each unchanged.
//!
//! An acknowledgement follows fdatasync(2), never the other way round. Duplicates are
//! dropped by number, records that break the chain are refused one by one, and
//! missing numbers are declared beside the copy. Ids from the wire become UUIDs
//! before they become file names.
//!
//! Everything that a daemon can size is bounded, and an error ends one stream only.
//! Not here: the meaning of a record.

mod connection;
mod declared_gaps;
mod ingest;
mod live_streams;
mod service;
mod stream_info;

pub use declared_gaps::{Gap, declared};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;

use crate::identity::{self, CollectorKeys, Files};
use crate::record::proto::ingest_server::IngestServer;
use crate::stream::BATCH_BYTES;
use service::Service;

/// Bytes of one message after decompression: a batch, and the names and lengths of
/// its fields.
const MAX_MESSAGE: usize = BATCH_BYTES + (64 << 10);
/// Flow-control window of one stream, and of one connection, bytes.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;
/// Most streams of a connection. A daemon sends its own stream, and up to four at a
/// time that earlier recorders left.
const STREAMS_PER_CONNECTION: u32 = 8;
/// Most bytes of a request's headers: gRPC's are some hundred.
const HEADERS: u32 = 16 << 10;
/// Most streams of a connection that were reset before they were served. Beyond it
/// the connection is closed.
const RESETS: usize = 20;
/// Interval of pings. A connection without an answer is closed.
const PING: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// An error of the collector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The collector cannot listen.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: std::io::Error,
    },
    /// The address is open to other hosts, and there are no keys.
    #[error(
        "will not listen at {address} without TLS: listen at 127.0.0.1, or name keys with --keys (make them with `agent-recorder keys`)"
    )]
    Plaintext {
        /// The configured address.
        address: SocketAddr,
    },
    /// The keys are invalid.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The server failed.
    #[error("the collector's server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// Settings of the collector.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen at.
    pub listen: SocketAddr,
    /// Directory of the streams.
    pub store: PathBuf,
    /// The directory of `ca.pem`, `collector.pem` and `collector.key`; without it there is no TLS.
    pub keys: Option<PathBuf>,
    /// Most connections at one time.
    pub connections: usize,
    /// Most streams that are written at one time.
    pub streams: usize,
}

/// A collector that listens and has not begun to serve.
#[derive(Debug)]
pub struct Collector {
    listener: TcpListener,
    options: Options,
    keys: Option<CollectorKeys>,
}

impl Collector {
    /// Listens.
    ///
    /// # Errors
    ///
    /// The address is in use, or open to other hosts without keys; or the keys are
    /// invalid.
    pub async fn bind(options: Options) -> Result<Self, Error> {
        let address = options.listen;
        let keys = options
            .keys
            .as_deref()
            .map(|directory| CollectorKeys::open(Files::of_collector(directory)))
            .transpose()?;
        if keys.is_none() && !address.ip().is_loopback() {
            return Err(Error::Plaintext { address });
        }
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Listen { address, source })?;
        Ok(Self {
            listener,
            options,
            keys,
        })
    }

    /// The address of the socket; a port of 0 has become a real one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until `shutdown` is ready.
    ///
    /// # Errors
    ///
    /// The server fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
        let Options {
            listen: _,
            store,
            keys: _,
            connections,
            streams,
        } = self.options;
        let service = IngestServer::new(Service::new(store, streams))
            .max_decoding_message_size(MAX_MESSAGE)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd);
        let incoming = connection::accept(self.listener, connections, self.keys);
        let server = Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .http2_max_header_list_size(HEADERS)
            .http2_max_pending_accept_reset_streams(Some(RESETS))
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING_ANSWER))
            .add_service(service)
            .serve_with_incoming(ReceiverStream::new(incoming));
        tokio::select! {
            result = server => Ok(result?),
            () = shutdown => Ok(()),
        }
    }
}
