//! The conversation of one stream, from its Hello on.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::connection::{Identity, Peer};
use super::ingest::{self, StreamCopy};
use super::live_streams::{LiveStream, LiveStreams, NotLive};
use super::stream_info::{self, StreamInfo};
use crate::record::{Seq, StreamId, proto};
use crate::stream::{BATCH_RECORDS, PROTOCOL};
use proto::ingest_server::Ingest;
use proto::{to_collector, to_daemon};

/// Most answers that wait for a daemon to read them.
const QUEUED_ANSWERS: usize = 64;
/// Longest wait for a Hello.
const HELLO: Duration = Duration::from_secs(10);
/// Interval at which the validity of a certificate is checked.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// Time without a message: three missed heartbeats.
const SILENCE: Duration = Duration::from_secs(30);

pub(super) struct Service {
    store: PathBuf,
    live_streams: Arc<LiveStreams>,
}

impl Service {
    pub(super) fn new(store: PathBuf, streams: usize) -> Self {
        Self {
            store,
            live_streams: LiveStreams::new(streams),
        }
    }

    /// Admits the owner of a stream only. Returns the owner, if the stream has one.
    fn admit(
        &self,
        hello: &proto::Hello,
        identity: Option<&Identity>,
    ) -> Result<(StreamId, Option<String>), Status> {
        if hello.protocol != PROTOCOL {
            return Err(Status::failed_precondition(format!(
                "protocol {} is not {PROTOCOL}",
                hello.protocol
            )));
        }
        let stream = StreamId::from_bytes(&hello.stream_id)
            .ok_or_else(|| Status::invalid_argument("a stream id has 16 bytes"))?;
        if let Some(field) = stream_info::too_long(hello) {
            return Err(Status::invalid_argument(format!("{field} is too long")));
        }
        if let Some(identity) = identity
            && identity.host.as_str() != hello.host_id
        {
            tracing::error!("{} says that it is {:?}", identity.host, hello.host_id);
            return Err(Status::unauthenticated(
                "the certificate names another host than Hello",
            ));
        }
        let owner = stream_info::owner(&self.store.join(stream.to_string()))
            .map_err(|error| Status::unavailable(format!("cannot read whose it is: {error}")))?;
        match owner {
            Some(owner) if owner != hello.host_id => {
                tracing::error!(
                    "{:?} wants to write stream {stream}, which is {owner:?}'s",
                    hello.host_id
                );
                Err(Status::permission_denied(
                    "the stream belongs to another host",
                ))
            }
            owner => Ok((stream, owner)),
        }
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<proto::ToDaemon, Status>> + Send>>;
type Outbox = mpsc::Sender<Result<proto::ToDaemon, Status>>;

#[tonic::async_trait]
impl Ingest for Service {
    type StreamStream = Answers;

    async fn stream(
        &self,
        request: Request<Streaming<proto::ToCollector>>,
    ) -> Result<Response<Answers>, Status> {
        let peer = request.extensions().get::<Peer>().cloned();
        let mut inbox = request.into_inner();
        let first = timeout(HELLO, inbox.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello came"))??;
        let Some(to_collector::Message::Hello(hello)) = first.and_then(|first| first.message)
        else {
            return Err(Status::invalid_argument("a stream begins with Hello"));
        };
        let identity = peer.as_ref().and_then(|peer| peer.identity.clone());
        let (stream, owner) = self.admit(&hello, identity.as_ref())?;
        let live_stream = self.live_streams.take(stream).await.map_err(not_live)?;
        let store = self.store.clone();
        let host = hello.host_id.clone();
        let folder = store.join(stream.to_string());
        let copy = blocking(move || {
            let copy = StreamCopy::open(&store, stream).map_err(unavailable)?;
            if owner.is_none() {
                stream_info::bind(&store.join(stream.to_string()), &host)
                    .map_err(|error| Status::unavailable(format!("cannot bind it: {error}")))?;
            }
            Ok(copy)
        })
        .await?;
        let (held_seq, held_chain) = copy.held();
        let welcome = proto::Welcome {
            protocol: PROTOCOL,
            durable_through: copy.position().0,
            held_seq: held_seq.0,
            held_chain,
            window_bytes: 0,
        };
        let peer = peer.map_or_else(String::new, |peer| peer.address.to_string());
        let (answers, outbox) = mpsc::channel(QUEUED_ANSWERS);
        // The channel is empty, so it has room.
        let _ = answers.try_send(Ok(answer(to_daemon::Message::Welcome(welcome))));
        let conversation = Conversation {
            stream,
            inbox,
            answers: answers.clone(),
            info: StreamInfo::new(folder, hello, peer),
            beat: proto::Heartbeat::default(),
            until: identity.map(|identity| identity.until),
        };
        tokio::spawn(async move {
            if let Err(status) = conversation.hold(copy, live_stream).await {
                tracing::warn!("stream {stream}: {}", status.message());
                // The daemon may be gone. It connects again, and the Welcome tells
                // its position.
                let _ = answers.try_send(Err(status));
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

fn not_live(why: NotLive) -> Status {
    match why {
        NotLive::Full => Status::resource_exhausted("the collector takes no more streams"),
        NotLive::Taken => Status::unavailable("another connection writes this stream"),
    }
}

fn unavailable(error: ingest::Error) -> Status {
    if error.is_full() {
        return Status::unavailable(format!("the collector's disk is full: {error}"));
    }
    match error {
        ingest::Error::Numbers { .. } => Status::invalid_argument(error.to_string()),
        ingest::Error::Spool(_) | ingest::Error::Absent { .. } => {
            Status::unavailable(error.to_string())
        }
    }
}

/// Runs disk work in a thread of its own: a slow disk delays its stream, not the
/// others.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Status::internal(error.to_string()))?
}

struct Conversation {
    stream: StreamId,
    inbox: Streaming<proto::ToCollector>,
    answers: Outbox,
    info: StreamInfo,
    beat: proto::Heartbeat,
    /// End of the certificate with which the connection was admitted.
    until: Option<SystemTime>,
}

async fn ended(until: Option<SystemTime>) {
    let Some(until) = until else {
        return std::future::pending().await;
    };
    // The time left is computed anew after each wait, because the clock can be set.
    while let Ok(left) = until.duration_since(SystemTime::now()) {
        sleep(left.min(LOOK_AT_CLOCK)).await;
    }
}

impl Conversation {
    async fn hold(mut self, copy: StreamCopy, live_stream: LiveStream) -> Result<(), Status> {
        self.info.write(true, &self.beat);
        let until = self.until;
        let result = tokio::select! {
            () = ended(until) => Err(Status::unauthenticated("the certificate has expired")),
            result = self.receive(copy) => result,
            () = live_stream.wanted() => Err(Status::aborted("a newer connection writes this stream")),
        };
        self.info.write(false, &self.beat);
        result
    }

    async fn receive(&mut self, mut copy: StreamCopy) -> Result<(), Status> {
        loop {
            let message = timeout(SILENCE, self.inbox.message())
                .await
                .map_err(|_| Status::deadline_exceeded("no heartbeat came"))??;
            let Some(message) = message else {
                return Ok(());
            };
            match message.message {
                Some(to_collector::Message::Batch(batch)) => {
                    if batch.records.len() > BATCH_RECORDS {
                        return Err(Status::invalid_argument("a batch has too many records"));
                    }
                    let (kept, outcome) = blocking(move || {
                        let outcome = copy.ingest(&batch).map_err(unavailable)?;
                        Ok((copy, outcome))
                    })
                    .await?;
                    copy = kept;
                    if !self.send_outcome(outcome, copy.position()).await {
                        return Ok(());
                    }
                }
                Some(to_collector::Message::Heartbeat(beat)) => {
                    self.beat = beat;
                    self.info.write(true, &self.beat);
                }
                Some(to_collector::Message::Hello(_)) => {
                    return Err(Status::invalid_argument("Hello comes once"));
                }
                // A newer daemon sends message kinds that this version lacks.
                None => {}
            }
        }
    }

    /// Sends the refusals, then the acknowledgement that includes them. False when
    /// the daemon is gone.
    async fn send_outcome(&self, outcome: ingest::Outcome, position: Seq) -> bool {
        let stream = self.stream;
        if let Some((first, last)) = outcome.missing {
            tracing::warn!("stream {stream}: {first} to {last} were never sent");
        }
        if let Some(refusal) = outcome.refusals.first() {
            tracing::error!(
                "stream {stream}: {} records are refused, the first is {}: {}",
                outcome.refusals.len(),
                refusal.seq,
                refusal.reason
            );
        }
        let ack = proto::Ack {
            durable_through: position.0,
        };
        let refusals = outcome
            .refusals
            .into_iter()
            .map(to_daemon::Message::Refusal);
        for message in refusals.chain([to_daemon::Message::Ack(ack)]) {
            if self.answers.send(Ok(answer(message))).await.is_err() {
                return false;
            }
        }
        true
    }
}
