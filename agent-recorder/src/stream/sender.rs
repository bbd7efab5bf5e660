//! One stream, one connection at a time, for ever.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Status, Streaming};

use super::{Options, Progress, acknowledged_path};
use crate::record::{Seq, proto};
use crate::spool::{self, Cursor, Item, Store};
use proto::ingest_client::IngestClient;
use proto::{to_collector, to_daemon};

/// The version of the protocol that is spoken.
pub(crate) const PROTOCOL: u32 = 1;
/// A batch ends at whichever comes first.
const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Batches on their way that have not left: more would only fill memory.
const QUEUED_BATCHES: usize = 4;
/// Silence is told of, so that it is not taken for health.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Time between two tries, doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("cannot reach it: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("it says: {0}")]
    Status(Box<Status>),
    #[error("it closed the stream")]
    Closed,
    #[error("{0}")]
    Spool(#[from] spool::Error),
    #[error("it speaks another protocol")]
    Protocol,
    #[error("cannot keep its acknowledgement: {0}")]
    Keep(#[from] io::Error),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

pub(super) struct Sending {
    options: Options,
    progress: watch::Receiver<Progress>,
    acknowledged: watch::Sender<Seq>,
}

impl Sending {
    pub(super) fn new(
        options: Options,
        progress: watch::Receiver<Progress>,
        acknowledged: watch::Sender<Seq>,
    ) -> Self {
        Self {
            options,
            progress,
            acknowledged,
        }
    }

    /// Connects again and again.
    pub(super) async fn run(mut self) {
        let mut wait = RETRY_FIRST;
        let mut told = false;
        loop {
            let before = *self.acknowledged.borrow();
            if let Err(broken) = self.connection().await {
                // Once an absence: retries are not news.
                if !told {
                    tracing::warn!(
                        "collector {}: {broken}; records stay in the spool until it answers",
                        self.options.collector
                    );
                    told = true;
                }
            }
            if *self.acknowledged.borrow() > before {
                wait = RETRY_FIRST;
                told = false;
            }
            tokio::time::sleep(jittered(wait)).await;
            wait = (wait * 2).min(RETRY_LAST);
        }
    }

    async fn connection(&mut self) -> Result<(), Broken> {
        let mut client = IngestClient::connect(self.options.collector.clone())
            .await?
            .send_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Zstd);
        let (outbox, messages) = mpsc::channel(QUEUED_BATCHES);
        send(&outbox, to_collector::Message::Hello(self.hello())).await?;
        let mut inbox = client
            .stream(ReceiverStream::new(messages))
            .await?
            .into_inner();
        let held = self.welcome(&mut inbox).await?;
        let mut cursor = Store::open(&self.options.spool)?.durable_cursor(self.options.stream)?;
        cursor.seek(held.next())?;
        self.pump(&mut cursor, &outbox, &mut inbox).await
    }

    fn hello(&self) -> proto::Hello {
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        proto::Hello {
            protocol: PROTOCOL,
            stream_id: self.options.stream.to_bytes(),
            host_id: read("/etc/machine-id"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            hostname: read("/proc/sys/kernel/hostname"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            first_seq: 1,
            last_seq: self.progress.borrow().last.0,
        }
    }

    async fn welcome(&self, inbox: &mut Streaming<proto::ToDaemon>) -> Result<Seq, Broken> {
        match inbox.message().await?.and_then(|message| message.message) {
            Some(to_daemon::Message::Welcome(welcome)) if welcome.protocol == PROTOCOL => {
                let held = Seq(welcome.durable_through);
                self.acknowledge(held)?;
                Ok(held)
            }
            Some(_) => Err(Broken::Protocol),
            None => Err(Broken::Closed),
        }
    }

    /// Sends what there is, and takes acknowledgements.
    async fn pump(
        &mut self,
        cursor: &mut Cursor,
        outbox: &mpsc::Sender<proto::ToCollector>,
        inbox: &mut Streaming<proto::ToDaemon>,
    ) -> Result<(), Broken> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        let mut last_sent = Seq::default();
        let mut batch = next_batch(cursor)?;
        loop {
            tokio::select! {
                message = inbox.message() => match message?.and_then(|message| message.message) {
                    Some(to_daemon::Message::Ack(ack)) => self.acknowledge(Seq(ack.durable_through).min(last_sent))?,
                    Some(to_daemon::Message::Refusal(refusal)) => tracing::error!("the collector refuses record {}: {}", refusal.seq, refusal.reason),
                    Some(to_daemon::Message::Welcome(_)) => return Err(Broken::Protocol),
                    None => return Err(Broken::Closed),
                },
                permit = outbox.reserve(), if batch.is_some() => {
                    let permit = permit.map_err(|_| Broken::Closed)?;
                    if let Some((last, content)) = batch.take() {
                        last_sent = last;
                        permit.send(proto::ToCollector { message: Some(to_collector::Message::Batch(content)) });
                    }
                    batch = next_batch(cursor)?;
                },
                grown = self.progress.changed(), if batch.is_none() => {
                    grown.map_err(|_| Broken::Closed)?;
                    batch = next_batch(cursor)?;
                },
                _ = heartbeat.tick() => {
                    let beat = self.heartbeat();
                    send(outbox, to_collector::Message::Heartbeat(beat)).await?;
                },
            }
        }
    }

    fn heartbeat(&self) -> proto::Heartbeat {
        let progress = *self.progress.borrow();
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        proto::Heartbeat {
            last_seq: progress.last.0,
            lost: progress.lost,
            // Fits until the year 2262.
            time_unix_ns: i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX),
        }
    }

    /// Never backwards, and never beyond what was sent: the caller sees to the second.
    fn acknowledge(&self, through: Seq) -> Result<(), io::Error> {
        // In a statement of its own: a borrow is a lock that the sending below would wait for.
        let known = *self.acknowledged.borrow();
        if through <= known {
            return Ok(());
        }
        std::fs::write(
            acknowledged_path(&self.options.spool, self.options.stream),
            through.to_string(),
        )?;
        self.acknowledged.send_replace(through);
        Ok(())
    }
}

async fn send(
    outbox: &mpsc::Sender<proto::ToCollector>,
    message: to_collector::Message,
) -> Result<(), Broken> {
    outbox
        .send(proto::ToCollector {
            message: Some(message),
        })
        .await
        .map_err(|_| Broken::Closed)
}

/// What the spool has next, with the number it ends at.
fn next_batch(cursor: &mut Cursor) -> Result<Option<(Seq, proto::Batch)>, spool::Error> {
    let mut batch = proto::Batch::default();
    let (mut last, mut size) = (Seq::default(), 0);
    while batch.records.len() < BATCH_RECORDS && size < BATCH_BYTES {
        match cursor.next()? {
            None | Some(Item::Damage { last: None, .. }) => break,
            // The collector sees the gap by the numbers.
            Some(Item::Damage { .. } | Item::Flaw { .. }) => {}
            Some(Item::Record { seq, bytes, .. }) => {
                if batch.records.is_empty() {
                    batch.first_seq = seq.0;
                }
                last = seq;
                size += bytes.len();
                batch.records.push(bytes);
            }
        }
    }
    Ok((!batch.records.is_empty()).then_some((last, batch)))
}

/// Between half and all of it: many daemons do not come back at one moment.
fn jittered(wait: Duration) -> Duration {
    let random = uuid::Uuid::now_v7().as_u128() as u32;
    wait / 2 + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}
