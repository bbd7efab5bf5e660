//! A gRPC client that sends arbitrary bytes as a message, as no well-behaved daemon
//! does. It returns the collector's answers.

use agent_recorder::record::proto::{ToCollector, ToDaemon, to_collector, to_daemon};
use agent_recorder::record::{StreamId, proto};
use anyhow::Context as _;
use bytes::BufMut as _;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

#[derive(Debug, Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = ToDaemon;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = ToDaemon;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<ToDaemon>, Status> {
        let message =
            ToDaemon::decode(bytes).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(message))
    }
}

/// One stream to a collector.
#[derive(Debug)]
pub struct Raw {
    outbox: mpsc::UnboundedSender<Vec<u8>>,
    inbox: Streaming<ToDaemon>,
}

impl Raw {
    /// Opens it, with `first` as its first message.
    ///
    /// # Errors
    ///
    /// The collector's status.
    pub async fn open(channel: Channel, first: Vec<u8>) -> Result<Self, Status> {
        let (outbox, messages) = mpsc::unbounded_channel();
        // The receiver exists.
        let _ = outbox.send(first);
        let mut client = Grpc::new(channel).send_compressed(CompressionEncoding::Zstd);
        client
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/agent_recorder.v1.Ingest/Stream");
        let request = Request::new(UnboundedReceiverStream::new(messages));
        let inbox = client.streaming(request, path, Bytes).await?.into_inner();
        Ok(Self { outbox, inbox })
    }

    /// Opens it for a stream, as a daemon does, and returns the Welcome.
    ///
    /// # Errors
    ///
    /// The collector's status.
    pub async fn hello(
        channel: Channel,
        hello: proto::Hello,
    ) -> Result<(Self, proto::Welcome), Status> {
        let mut raw = Self::open(channel, message(to_collector::Message::Hello(hello))).await?;
        match raw.answer().await? {
            Some(to_daemon::Message::Welcome(welcome)) => Ok((raw, welcome)),
            other => Err(Status::internal(format!("no welcome: {other:?}"))),
        }
    }

    /// Sends any bytes.
    pub fn send(&self, bytes: Vec<u8>) {
        // The next answer shows that the stream has ended.
        let _ = self.outbox.send(bytes);
    }

    /// The next answer; `None` at the end.
    ///
    /// # Errors
    ///
    /// The status with which the collector ended it.
    pub async fn answer(&mut self) -> Result<Option<to_daemon::Message>, Status> {
        Ok(self
            .inbox
            .message()
            .await?
            .and_then(|answer| answer.message))
    }

    /// The status with which the collector ends the stream.
    ///
    /// # Errors
    ///
    /// It ends without one.
    pub async fn refused(&mut self) -> anyhow::Result<Status> {
        loop {
            match self.answer().await {
                Err(status) => return Ok(status),
                Ok(answer) => {
                    answer.context("the collector ends the stream well")?;
                }
            }
        }
    }
}

/// A Hello of a stream.
pub fn hello(stream: StreamId, host: &str) -> proto::Hello {
    proto::Hello {
        protocol: 1,
        stream_id: stream.to_bytes(),
        host_id: host.to_owned(),
        ..Default::default()
    }
}

/// A message as a daemon encodes it.
pub fn message(message: to_collector::Message) -> Vec<u8> {
    ToCollector {
        message: Some(message),
    }
    .encode_to_vec()
}

/// A batch as a daemon encodes it.
pub fn batch(first_seq: u64, records: Vec<Vec<u8>>) -> Vec<u8> {
    message(to_collector::Message::Batch(proto::Batch {
        records,
        first_seq,
    }))
}
