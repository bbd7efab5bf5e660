//! The sender of one stream: one connection at a time, without end.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::CompressionEncoding;
use tonic::{Status, Streaming};

use super::batch::{BATCH_WAIT, Batcher, Ready};
use super::clock::unix_ns;
use super::connect;
use super::refused::Refused;
use super::window::{BadAck, Window};
use super::{Declaration, Flow, Options, Progress, acknowledged_path};
use crate::fault;
use crate::identity::HostPair;
use crate::record::chain;
use crate::record::{RecorderEvent, Seq, proto};
use crate::spool::{self, Item, Store};
use proto::ingest_client::IngestClient;
use proto::{to_collector, to_daemon};

/// Version of the protocol.
pub(crate) const PROTOCOL: u32 = 1;
/// Most messages that have not been sent. One is enough, because the window bounds
/// the stream.
const QUEUED: usize = 1;
/// Interval of heartbeats: silence must not be taken for health.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Longest wait for a Welcome. A collector reads its copy first: gigabytes on a slow
/// disk.
const WELCOME: Duration = Duration::from_secs(120);
/// First wait between two attempts, which doubles with each.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// Most bytes of an answer: acknowledgements and reasons are short.
const MAX_ANSWER: usize = 64 << 10;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Connect(#[from] connect::Error),
    #[error("it says: {}: {}", .0.code(), .0.message())]
    Status(Box<Status>),
    #[error("it closed the stream")]
    Closed,
    #[error("it answers nothing")]
    Silent,
    #[error("{0}")]
    Spool(#[from] spool::Error),
    #[error("{0}")]
    Fault(Fault),
}

/// A fault that a working collector never makes. It is recorded.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it speaks another protocol")]
    Protocol,
    #[error(transparent)]
    Acknowledgement(BadAck),
    #[error("it refuses record {0}, which is not on its way")]
    Refusal(u64),
    #[error(
        "it holds records up to {held}, and this host's end at {last}: the spool was rolled back, or another recorder sends this stream; move the collector's copy away to send this one"
    )]
    Ahead { held: Seq, last: Seq },
    #[error(
        "its record {0} is not this host's: the spool or the copy was altered, or another recorder sends this stream; move the collector's copy away to send this one"
    )]
    Differs(Seq),
}

impl From<Status> for Broken {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<BadAck> for Broken {
    fn from(bad: BadAck) -> Self {
        Self::Fault(Fault::Acknowledgement(bad))
    }
}

/// The reason why a connection ended without an error.
enum Ended {
    /// A stream that no longer grows is acknowledged as a whole.
    Done,
    /// A newer certificate exists, and the next connection uses it.
    Renew,
}

/// The channels between the sender and the rest of the daemon.
pub(super) struct Watched {
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) flow: watch::Sender<Flow>,
    pub(super) declare: mpsc::Sender<Declaration>,
}

impl Watched {
    /// The channels of a stream without a waiting caller.
    pub(super) fn nobody(declare: mpsc::Sender<Declaration>) -> Self {
        Self {
            progress: watch::channel(Progress::default()).1,
            flow: watch::channel(Flow::default()).0,
            declare,
        }
    }
}

pub(super) struct Sending {
    options: Options,
    watched: Watched,
    acknowledged: Seq,
    refused: Refused,
    window: Option<usize>,
    /// Whether the stream ends, because nobody writes it any more.
    ends: bool,
    told: bool,
    faulted: bool,
}

impl Sending {
    pub(super) fn new(options: Options, watched: Watched, ends: bool) -> Self {
        let path = acknowledged_path(&options.spool, options.stream);
        // Without a whole number the sender assumes that nothing was acknowledged;
        // the collector's Welcome corrects it.
        let acknowledged = std::fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map_or(Seq::default(), Seq);
        let refused = Refused::new(&options.spool, options.stream);
        Self {
            options,
            watched,
            acknowledged,
            refused,
            window: None,
            ends,
            told: false,
            faulted: false,
        }
    }

    /// Connects again and again. A stream that ends is sent until all of it is
    /// acknowledged.
    pub(super) async fn run(mut self) {
        let mut wait = RETRY_FIRST;
        loop {
            let before = self.acknowledged;
            let ended = self.connection().await;
            self.show(false, (0, 0));
            self.declare_refusals();
            match ended {
                Ok(Ended::Done) => return,
                Ok(Ended::Renew) => continue,
                Err(broken) => self.log_absence(&broken),
            }
            if self.acknowledged > before {
                wait = RETRY_FIRST;
                (self.told, self.faulted) = (false, false);
            }
            tokio::time::sleep(jittered(wait)).await;
            wait = (wait * 2).min(RETRY_LAST);
        }
    }

    /// Logs an absence of the collector once, because retries are no news. A fault is
    /// logged during an absence, too.
    fn log_absence(&mut self, broken: &Broken) {
        let fault = matches!(broken, Broken::Fault(_));
        if fault && !std::mem::replace(&mut self.faulted, true) {
            self.declare(RecorderEvent::CollectorFault, broken.to_string());
        }
        if !std::mem::replace(&mut self.told, true) || fault {
            tracing::warn!(
                "collector {}: {broken}; records after {} stay in the spool until it acknowledges them",
                self.options.collector,
                self.acknowledged
            );
        }
    }

    fn declare(&self, event: RecorderEvent, mut detail: String) {
        if self.ends {
            detail = format!("stream {}: {detail}", self.options.stream);
        }
        // The receiver is gone or the queue is full. The log has the text anyway.
        let _ = self.watched.declare.try_send(Declaration { event, detail });
    }

    fn declare_refusals(&mut self) {
        if let Some(refused) = self.refused.declaration() {
            tracing::error!(
                "collector {} refuses records: {refused}",
                self.options.collector
            );
            self.declare(RecorderEvent::RecordsRefused, refused);
        }
    }

    async fn connection(&mut self) -> Result<Ended, Broken> {
        let pair = connect::pair(&self.options)?;
        let channel = connect::connect(&self.options, pair.as_deref()).await?;
        let mut client = IngestClient::new(channel)
            .max_decoding_message_size(MAX_ANSWER)
            .send_compressed(CompressionEncoding::Zstd)
            .accept_compressed(CompressionEncoding::Zstd);
        let store = Store::open(&self.options.spool)?;
        let hello = self.hello(&store, pair.as_deref())?;
        let last = Seq(hello.last_seq);
        let (outbox, messages) = mpsc::channel(QUEUED);
        // The channel is empty, and has room for one message.
        let _ = outbox.try_send(message(to_collector::Message::Hello(hello)));
        let opened = timeout(WELCOME, async {
            let mut inbox = client
                .stream(ReceiverStream::new(messages))
                .await?
                .into_inner();
            let welcome = match inbox.message().await?.and_then(|message| message.message) {
                Some(to_daemon::Message::Welcome(welcome)) => welcome,
                Some(_) => return Err(Fault::Protocol.into()),
                None => return Err(Broken::Closed),
            };
            Ok((inbox, welcome))
        });
        let (inbox, welcome) = opened.await.map_err(|_| Broken::Silent)??;
        let held = self.welcomed(&store, &welcome, last)?;
        let mut pump = Pump {
            batcher: Batcher::new(store.clone(), self.options.stream, held)?,
            window: Window::new(held, welcome.window_bytes, self.window.take()),
            store,
            inbox,
            pair,
            outgoing: None,
            beat_due: false,
        };
        let ended = self.pump(&mut pump, &outbox).await;
        if ended.is_err() {
            self.window = Some(pump.window.after_break());
        }
        ended
    }

    fn hello(&self, store: &Store, pair: Option<&HostPair>) -> Result<proto::Hello, Broken> {
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let mut cursor = store.cursor(self.options.stream)?;
        let first = match cursor.next()? {
            Some(Item::Record { seq, .. }) => seq,
            Some(Item::Damage { last, .. }) => last.unwrap_or_default().next(),
            Some(Item::Flaw { at, .. }) => at,
            None => Seq::default(),
        };
        let durable = store
            .head(self.options.stream)
            .map_or(Seq::default(), |(durable, _)| durable);
        Ok(proto::Hello {
            protocol: PROTOCOL,
            stream_id: self.options.stream.to_bytes(),
            host_id: pair.map_or_else(|| read("/etc/machine-id"), |pair| pair.host.to_string()),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            hostname: read("/proc/sys/kernel/hostname"),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            first_seq: first.0,
            last_seq: durable.0,
        })
    }

    /// Compares the collector's position with the spool, and continues from it.
    fn welcomed(
        &mut self,
        store: &Store,
        welcome: &proto::Welcome,
        last: Seq,
    ) -> Result<Seq, Broken> {
        if welcome.protocol != PROTOCOL {
            return Err(Fault::Protocol.into());
        }
        let (through, held) = (Seq(welcome.durable_through), Seq(welcome.held_seq));
        if through > last {
            return Err(Fault::Ahead {
                held: through,
                last,
            }
            .into());
        }
        if held > Seq::default() {
            let mut cursor = store.cursor(self.options.stream)?;
            cursor.seek(held)?;
            // A record that the spool has freed cannot be compared.
            if let Some(Item::Record { seq, bytes, .. }) = cursor.next()?
                && seq == held
                && chain::split(&bytes).is_some_and(|(_, value)| value[..] != welcome.held_chain)
            {
                return Err(Fault::Differs(held).into());
            }
        }
        let before = self.acknowledged;
        self.acknowledge(through);
        // The state changes before the declaration: its reader must not see the older
        // acknowledgement.
        self.show(true, (0, 0));
        if through < before {
            self.declare(
                RecorderEvent::CollectorBehind,
                format!("it holds records up to {through}, and had acknowledged {before}"),
            );
        }
        Ok(through)
    }

    /// Sends batches, and takes acknowledgements.
    async fn pump(
        &mut self,
        pump: &mut Pump,
        outbox: &mpsc::Sender<proto::ToCollector>,
    ) -> Result<Ended, Broken> {
        let mut heartbeat = tokio::time::interval(HEARTBEAT);
        loop {
            if pump.outgoing.is_none() {
                let most = pump.window.batch_bytes();
                pump.outgoing = pump.batcher.next(most, Instant::now())?;
            }
            self.show(true, pump.window.on_way());
            let idle = pump.outgoing.is_none();
            let done = idle && pump.batcher.is_drained() && pump.window.deadline().is_none();
            if self.ends && done {
                return Ok(Ended::Done);
            }
            let sends = pump.beat_due
                || pump
                    .outgoing
                    .as_ref()
                    .is_some_and(|ready| pump.window.takes(ready.bytes));
            // A sync of the spool wakes nobody. While records wait for one, the head
            // is read again at intervals.
            let unsynced = self.watched.progress.borrow().last > pump.batcher.durable();
            let look = pump
                .batcher
                .deadline()
                .or(unsynced.then(|| Instant::now() + BATCH_WAIT));
            tokio::select! {
                answer = pump.inbox.message() => {
                    let answer = answer?.ok_or(Broken::Closed)?;
                    self.answered(pump, answer)?;
                }
                permit = outbox.reserve(), if sends => {
                    let permit = permit.map_err(|_| Broken::Closed)?;
                    if std::mem::take(&mut pump.beat_due) {
                        permit.send(message(to_collector::Message::Heartbeat(
                            self.heartbeat(&pump.window),
                        )));
                    } else if let Some(Ready { last, bytes, batch }) = pump.outgoing.take() {
                        permit.send(message(to_collector::Message::Batch(batch)));
                        pump.window.sent(last, bytes, Instant::now());
                        fault::point(fault::BATCH_SENT);
                    }
                }
                // A stream whose recorder has ended does not grow.
                Ok(()) = self.watched.progress.changed(), if idle => {}
                () = at(look), if idle => {}
                _ = heartbeat.tick() => {
                    pump.beat_due = true;
                    self.declare_refusals();
                    // An unreadable pair is logged, and the one in use stays.
                    if let (Some(used), Ok(Some(now))) = (&pump.pair, connect::pair(&self.options))
                        && !Arc::ptr_eq(used, &now)
                    {
                        return Ok(Ended::Renew);
                    }
                }
                () = at(pump.window.deadline()) => return Err(Broken::Silent),
            }
        }
    }

    fn answered(&mut self, pump: &mut Pump, answer: proto::ToDaemon) -> Result<(), Broken> {
        match answer.message {
            Some(to_daemon::Message::Ack(ack)) => {
                let through = Seq(ack.durable_through);
                pump.window.acknowledged(through, Instant::now())?;
                if through > self.acknowledged {
                    self.acknowledge(through);
                }
                Ok(())
            }
            Some(to_daemon::Message::Refusal(refusal)) => {
                let seq = Seq(refusal.seq);
                if !pump.window.covers(seq) {
                    return Err(Fault::Refusal(refusal.seq).into());
                }
                self.refused
                    .keep(&pump.store, self.options.stream, seq, &refusal.reason);
                Ok(())
            }
            // A newer collector sends message kinds that this version lacks.
            None => Ok(()),
            Some(to_daemon::Message::Welcome(_)) => Err(Fault::Protocol.into()),
        }
    }

    fn heartbeat(&self, window: &Window) -> proto::Heartbeat {
        let progress = *self.watched.progress.borrow();
        let (batches, bytes) = window.on_way();
        proto::Heartbeat {
            last_seq: progress.last.0,
            lost: progress.lost,
            time_unix_ns: unix_ns(),
            unacknowledged_batches: batches as u64,
            unacknowledged_bytes: bytes as u64,
        }
    }

    /// Writes the acknowledged number beside the stream, so that a copy that lost
    /// records is noticed after a restart, too.
    fn acknowledge(&mut self, through: Seq) {
        self.acknowledged = through;
        fault::point(fault::ACKNOWLEDGED);
        let path = acknowledged_path(&self.options.spool, self.options.stream);
        if let Err(error) = keep_number(&path, through) {
            // On a full disk the stream continues, because the acknowledgement is
            // what makes room.
            tracing::warn!("cannot write {}: {error}", path.display());
        }
        fault::point(fault::ACKNOWLEDGEMENT_KEPT);
    }

    fn show(&self, connected: bool, (batches, bytes): (usize, usize)) {
        let flow = Flow {
            connected,
            acknowledged: self.acknowledged,
            batches,
            bytes,
        };
        self.watched.flow.send_if_modified(|shown| {
            let changed = *shown != flow;
            *shown = flow;
            changed
        });
    }
}

/// The parts of one connection.
struct Pump {
    batcher: Batcher,
    window: Window,
    store: Store,
    inbox: Streaming<proto::ToDaemon>,
    pair: Option<Arc<HostPair>>,
    outgoing: Option<Ready>,
    beat_due: bool,
}

fn message(message: to_collector::Message) -> proto::ToCollector {
    proto::ToCollector {
        message: Some(message),
    }
}

/// Waits until a moment; without one, for ever.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Overwrites the number in place with one of equal length: on a full disk it needs
/// no new block.
fn keep_number(path: &std::path::Path, number: Seq) -> std::io::Result<()> {
    use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all_at(format!("{:020}", number.0).as_bytes(), 0)
}

/// A random wait between half of `wait` and all of it, so that many daemons do not
/// connect at one moment.
fn jittered(wait: Duration) -> Duration {
    let random = uuid::Uuid::now_v7().as_u128() as u32;
    wait / 2 + wait.mul_f64(f64::from(random) / f64::from(u32::MAX) / 2.0)
}
