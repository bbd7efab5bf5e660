//! The collector: takes the streams of many hosts and keeps each as it is.
//!
//! An acknowledgement means synced: it is given after fdatasync(2) and never
//! before. Duplicates are dropped by number, records that break the chain are
//! refused one by one, and what is missing is declared beside the copy. Ids
//! from the wire become UUIDs before they become names.
//!
//! Everything that a daemon can size is bounded, and what fails is the one
//! stream. Not here: what a record means.

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

/// Bytes of one message after decompression: a batch, and the names and lengths of its fields.
const MAX_MESSAGE: usize = BATCH_BYTES + (64 << 10);
/// Bytes of one stream, and of one connection, that wait to be read.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;
/// A daemon has one stream, and one for each that earlier recorders left, four at a time.
const STREAMS_PER_CONNECTION: u32 = 8;
/// Bytes of a request's headers: gRPC's are some hundred.
const HEADERS: u32 = 16 << 10;
/// Streams that were reset before they were served, a connection: beyond, it is closed.
const RESETS: usize = 20;
/// A connection that answers no ping is closed.
const PING: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// An error of the collector.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot listen.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// Others could listen, or write.
    #[error(
        "will not listen at {address} without TLS: listen at 127.0.0.1, or name keys with --keys (make them with `agent-recorder keys`)"
    )]
    Plaintext {
        /// Where it was told to.
        address: SocketAddr,
    },
    /// Its keys make no sense.
    #[error(transparent)]
    Identity(#[from] identity::Error),
    /// The server failed.
    #[error("the collector's server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// How to collect.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where the streams are kept.
    pub store: PathBuf,
    /// The directory of `ca.pem`, `collector.pem` and `collector.key`; without it there is no TLS.
    pub keys: Option<PathBuf>,
    /// Connections at one time.
    pub connections: usize,
    /// Streams that are written at one time.
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
    /// The address cannot be had, or is open to others without keys; the keys make no sense.
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

    /// Where it listens; a port of 0 has become a real one.
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
