//! The collector: takes the streams of many hosts and keeps each as it is.
//!
//! An acknowledgement means synced: it is given after fdatasync(2) and never
//! before. Duplicates are dropped by number, records that break the chain are
//! refused one by one. Ids from the wire become UUIDs before they become names.
//!
//! Not here: what a record means.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;

use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status, Streaming};

use crate::record::{Seq, StreamId, proto};
use crate::spool::{Kept, Options, Replica};
use crate::stream::PROTOCOL;
use proto::ingest_server::{Ingest, IngestServer};
use proto::{to_collector, to_daemon};

/// Bytes of one message after decompression: a batch of 1 MiB and one largest record more.
const MAX_MESSAGE: usize = 4 << 20;
/// Answers that wait for a daemon to take them.
const QUEUED_ANSWERS: usize = 64;

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
    /// The server failed.
    #[error("the collector's server failed: {0}")]
    Serve(#[from] tonic::transport::Error),
}

/// A collector that listens and has not begun to serve.
#[derive(Debug)]
pub struct Collector {
    listener: TcpListener,
    store: PathBuf,
}

impl Collector {
    /// Listens.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub async fn bind(address: SocketAddr, store: PathBuf) -> Result<Self, Error> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Listen { address, source })?;
        Ok(Self { listener, store })
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
        let service = IngestServer::new(Service { store: self.store })
            .max_decoding_message_size(MAX_MESSAGE)
            .accept_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Zstd);
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(self.listener));
        tokio::select! {
            result = server => Ok(result?),
            () = shutdown => Ok(()),
        }
    }
}

struct Service {
    store: PathBuf,
}

type Answers = Pin<Box<dyn Stream<Item = Result<proto::ToDaemon, Status>> + Send>>;

#[tonic::async_trait]
impl Ingest for Service {
    type StreamStream = Answers;

    async fn stream(
        &self,
        request: Request<Streaming<proto::ToCollector>>,
    ) -> Result<Response<Answers>, Status> {
        let mut inbox = request.into_inner();
        let hello = match inbox.message().await?.and_then(|message| message.message) {
            Some(to_collector::Message::Hello(hello)) => hello,
            _ => return Err(Status::invalid_argument("a stream begins with Hello")),
        };
        if hello.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "protocol {} is not {PROTOCOL}",
                hello.protocol
            )));
        }
        let stream = StreamId::from_bytes(&hello.stream_id)
            .ok_or_else(|| Status::invalid_argument("a stream id has 16 bytes"))?;
        let store = self.store.clone();
        let replica = blocking(move || {
            Replica::open(&store, stream, Options::default()).map_err(unavailable)
        })
        .await?;
        let (answers, outbox) = mpsc::channel(QUEUED_ANSWERS);
        let welcome = proto::Welcome {
            protocol: PROTOCOL,
            durable_through: replica.last_seq().0,
            ..Default::default()
        };
        let _ = answers
            .send(Ok(answer(to_daemon::Message::Welcome(welcome))))
            .await;
        tokio::spawn(async move {
            if let Err(status) = receive(inbox, replica, &answers).await {
                // The daemon may be gone; it connects again and asks where it was.
                let _ = answers.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outbox))))
    }
}

fn answer(message: to_daemon::Message) -> proto::ToDaemon {
    proto::ToDaemon {
        message: Some(message),
    }
}

fn unavailable(error: crate::spool::Error) -> Status {
    Status::unavailable(error.to_string())
}

/// Disk work has a thread of its own: a slow disk delays its stream, not the others.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Status::internal(error.to_string()))?
}

async fn receive(
    mut inbox: Streaming<proto::ToCollector>,
    mut replica: Replica,
    answers: &mpsc::Sender<Result<proto::ToDaemon, Status>>,
) -> Result<(), Status> {
    while let Some(message) = inbox.message().await? {
        match message.message {
            Some(to_collector::Message::Batch(batch)) => {
                let kept = blocking(move || keep(replica, &batch)).await?;
                replica = kept.replica;
                for refusal in kept.refusals {
                    let _ = answers
                        .send(Ok(answer(to_daemon::Message::Refusal(refusal))))
                        .await;
                }
                let ack = proto::Ack {
                    durable_through: kept.durable.0,
                };
                if answers
                    .send(Ok(answer(to_daemon::Message::Ack(ack))))
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
            // Its arrival is what it says.
            Some(to_collector::Message::Heartbeat(_)) => {}
            Some(to_collector::Message::Hello(_)) | None => {
                return Err(Status::invalid_argument(
                    "only batches and heartbeats follow Hello",
                ));
            }
        }
    }
    Ok(())
}

/// What came of one batch.
struct KeptBatch {
    replica: Replica,
    durable: Seq,
    refusals: Vec<proto::Refusal>,
}

fn keep(mut replica: Replica, batch: &proto::Batch) -> Result<KeptBatch, Status> {
    let mut refusals = Vec::new();
    for stored in &batch.records {
        let Ok(record) = proto::Record::decode(stored.as_slice()) else {
            refusals.push(proto::Refusal {
                seq: 0,
                reason: "it is no record".to_owned(),
            });
            continue;
        };
        match replica
            .append(Seq(record.seq), stored)
            .map_err(unavailable)?
        {
            Kept::New | Kept::Duplicate => {}
            Kept::AfterGap => tracing::warn!("numbers before {} are missing", record.seq),
            Kept::Broken => refusals.push(proto::Refusal {
                seq: record.seq,
                reason: "it does not continue the chain".to_owned(),
            }),
        }
    }
    let durable = replica.sync().map_err(unavailable)?;
    Ok(KeptBatch {
        replica,
        durable,
        refusals,
    })
}
