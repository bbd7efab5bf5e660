//! The stream that this host's recorder writes.
//!
//! Its writer never fails: while the disk is full, read-only or broken, frames stay
//! in memory, and `sync` tries again at each call. Records without room are counted,
//! and a loss record declares them afterwards.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use prost::Message as _;

use super::disk::Host;
use super::log::{Log, Start};
use super::outage::{self, Drops};
use super::resume::{Missing, Role, resume};
use super::retain::Freed;
use super::{Error, HELD_BYTES, Options, directory, earlier_streams, read};
use crate::record::chain::Chain;
use crate::record::{LossStage, RecorderEvent, Seq, StreamId, proto};
use proto::record::Body;

/// Interval at which the streams of earlier recorders are examined, whose ends have
/// to be read.
const OTHERS_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// The stream that this host's recorder writes.
#[derive(Debug)]
pub struct Spool {
    log: Log,
    outage: Option<Outage>,
    drops: Drops,
    news: Vec<Body>,
    looked_at_others: Option<Instant>,
    /// Time of the opening, by both clocks.
    opened: (SystemTime, Instant),
}

/// A time in which the disk cannot be written.
#[derive(Debug)]
struct Outage {
    why: String,
    since: Instant,
    held: Seq,
}

/// Which of the streams without a writer a recorder continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The newest stream.
    Newest,
    /// This stream, whose sessions the recorder takes over; the newest where this one
    /// cannot be continued.
    First(StreamId),
    /// The newest except this one, which another recorder will continue.
    Without(StreamId),
}

impl Choice {
    /// The streams to try, in this order.
    fn among(self, mut streams: Vec<StreamId>) -> Vec<StreamId> {
        streams.sort_unstable_by(|one, other| other.cmp(one));
        match self {
            Self::Newest => {}
            Self::First(first) => streams.sort_by_key(|stream| *stream != first),
            Self::Without(left) => streams.retain(|stream| *stream != left),
        }
        streams
    }
}

impl Spool {
    /// Continues the newest stream under `directory` without a writer, or begins one.
    ///
    /// # Errors
    ///
    /// The directory is not safe or cannot be created, or a stream cannot be begun.
    pub fn open(directory: &Path, options: Options) -> Result<Self, Error> {
        Self::open_one(directory, options, Choice::Newest)
    }

    /// As [`Spool::open`], with a choice of the stream.
    ///
    /// # Errors
    ///
    /// As for [`Spool::open`].
    pub fn open_one(directory: &Path, options: Options, choice: Choice) -> Result<Self, Error> {
        directory::prepare(directory)?;
        if let Some(state) = directory.parent().filter(|state| state.is_absolute()) {
            directory::refuse_link(state)?;
        }
        for stream in choice.among(read::stream_ids(directory)?) {
            let folder = directory.join(stream.to_string());
            let lock = if choice == Choice::First(stream) {
                directory::lock_soon(&folder)?
            } else {
                directory::try_lock(&folder)?
            };
            let Some(lock) = lock else {
                continue;
            };
            match resume(
                Arc::new(Host),
                folder,
                stream,
                options,
                Some(lock),
                Role::Numbers,
            ) {
                Ok(resumed) => return Ok(Self::new(resumed.log, &resumed.missing)),
                // The stream stays as it is, for `verify`, and the recorder begins
                // another one.
                Err(error) => tracing::warn!("stream {stream} cannot go on: {error}"),
            }
        }
        let stream = StreamId::generate();
        let folder = directory::create_stream(directory, stream)?;
        let Some(lock) = directory::try_lock(&folder)? else {
            return Err(Error::Unsafe {
                path: folder,
                why: "is used by somebody else at its first moment",
            });
        };
        let start = Start {
            chain: Chain::start(stream),
            durable: Seq::default(),
            segment: None,
            waiting: None,
        };
        let log = Log::new(Arc::new(Host), folder, stream, options, Some(lock), start)?;
        Ok(Self::new(log, &[]))
    }

    pub(super) fn new(log: Log, missing: &[Missing]) -> Self {
        Self {
            log,
            outage: None,
            drops: Drops::default(),
            looked_at_others: None,
            opened: (SystemTime::now(), Instant::now()),
            news: missing.iter().map(told).map(Body::Loss).collect(),
        }
    }

    /// The stream's id.
    pub fn stream_id(&self) -> StreamId {
        self.log.stream
    }

    /// The stream's folder.
    pub fn dir(&self) -> &Path {
        &self.log.directory
    }

    /// The last number.
    pub fn last_seq(&self) -> Seq {
        self.log.chain.seq()
    }

    /// The last durable number: records up to it may leave this host.
    pub fn durable(&self) -> Seq {
        self.log.durable
    }

    /// Records that were dropped since the opening.
    pub fn dropped(&self) -> u64 {
        self.drops.total()
    }

    /// The records about the spool itself, each once.
    pub fn take_news(&mut self) -> Vec<Body> {
        let mut news = std::mem::take(&mut self.news);
        if self.outage.is_none() {
            news.extend(self.drops.take().map(Body::Loss));
        }
        news
    }

    /// Gives a record its number and chain value, and stores it; durable after
    /// [`Spool::sync`]. `None` when there is no room: the record is counted, and has
    /// no number.
    pub fn append(&mut self, record: proto::Record) -> Option<Seq> {
        if self.log.held() >= HELD_BYTES && self.outage.is_none() {
            // `outage` contains the error now.
            let _ = self.sync();
        }
        let kind = outage::kind(&record);
        if self.outage.is_some() && self.log.held() + record.encoded_len() > outage::room(&record) {
            self.drops.count(kind);
            return None;
        }
        let seq = self.log.push(|chain, buffer| chain.append(record, buffer));
        if seq.is_none() {
            self.drops.count(kind);
        }
        if self.log.is_due() {
            self.flush();
        }
        seq
    }

    /// Writes the waiting frames, so that readers on this host see them. False where
    /// they stay in memory, because the disk is full or broken.
    pub fn flush(&mut self) -> bool {
        if self.outage.is_none()
            && let Err(error) = self.log.flush()
        {
            self.failed(&error);
        }
        self.outage.is_none()
    }

    /// Makes all records durable. Returns the last number.
    ///
    /// # Errors
    ///
    /// Writing or syncing fails. The frames stay in memory, and the next call tries
    /// again.
    pub fn sync(&mut self) -> Result<Seq, Error> {
        let mut synced = self.log.sync();
        if synced.as_ref().is_err_and(Error::is_full) {
            match self.log.make_room() {
                Ok(Some(freed)) => {
                    self.record_freed(&freed);
                    synced = self.log.sync();
                }
                Ok(None) => {}
                Err(error) => tracing::warn!("cannot make room: {error}"),
            }
        }
        if let Some(what) = self.log.altered.take() {
            tracing::error!("somebody altered the spool: {what}");
            self.record_event(RecorderEvent::SpoolAltered, what);
        }
        match synced {
            Ok(seq) => {
                self.recovered();
                Ok(seq)
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Removes segments beyond the configured size and age, also of earlier
    /// recorders' streams.
    pub fn tidy(&mut self) {
        if let Err(error) = self.tidy_all() {
            tracing::warn!("cannot take away old records: {error}");
        }
    }

    fn tidy_all(&mut self) -> Result<(), Error> {
        // The age is measured by the monotonic clock, so that a change of the wall
        // clock makes nothing old.
        let (then, since) = self.opened;
        let now = then + since.elapsed();
        if let Some(freed) = self.log.retain(now)? {
            self.record_freed(&freed);
        }
        let looked = self.looked_at_others;
        if looked.is_some_and(|looked| looked.elapsed() < OTHERS_INTERVAL) {
            return Ok(());
        }
        self.looked_at_others = Some(Instant::now());
        let Some(directory) = self.log.directory.parent() else {
            return Ok(());
        };
        let own = (self.log.stream, self.log.bytes()?);
        for (stream, freed) in earlier_streams::retain(directory, own, self.log.options, now)? {
            let Freed {
                first, last, why, ..
            } = freed;
            self.record_event(
                RecorderEvent::SpoolFreed,
                format!("of stream {stream}, {first} to {last}: {why}"),
            );
            if let Some((first, last)) = freed.unacknowledged() {
                // The record has no numbers, because those would belong to this
                // stream.
                self.news.push(Body::Loss(proto::Loss {
                    stage: LossStage::Spool.name().to_owned(),
                    count: last.0 - first.0 + 1,
                    freed: true,
                    ..Default::default()
                }));
            }
        }
        Ok(())
    }

    fn record_freed(&mut self, freed: &Freed) {
        let Freed {
            first, last, why, ..
        } = *freed;
        self.record_event(
            RecorderEvent::SpoolFreed,
            format!("{first} to {last}: {why}"),
        );
        let Some((first, last)) = freed.unacknowledged() else {
            return;
        };
        let missing = Missing {
            first,
            last,
            durable: true,
        };
        let mut loss = told(&missing);
        loss.freed = true;
        self.news.push(Body::Loss(loss));
    }

    fn record_event(&mut self, event: RecorderEvent, detail: String) {
        self.news.push(Body::StreamEvent(proto::StreamEvent {
            event: event.name().to_owned(),
            detail,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }));
    }

    fn failed(&mut self, error: &Error) {
        if self.outage.is_none() {
            tracing::error!("{error}; records are held in memory until it can be written again");
            self.outage = Some(Outage {
                why: error.to_string(),
                since: Instant::now(),
                held: self.log.durable,
            });
        }
    }

    fn recovered(&mut self) {
        let Some(outage) = self.outage.take() else {
            return;
        };
        let detail = format!(
            "{}; {} records were held, {:.1} s",
            outage.why,
            self.log.durable.0 - outage.held.0,
            outage.since.elapsed().as_secs_f64(),
        );
        tracing::info!("the spool is written again: {detail}");
        self.record_event(RecorderEvent::SpoolOutage, detail);
    }
}

fn told(missing: &Missing) -> proto::Loss {
    proto::Loss {
        stage: LossStage::Spool.name().to_owned(),
        count: missing.last.0 - missing.first.0 + 1,
        first_seq: missing.first.0,
        last_seq: missing.last.0,
        was_durable: missing.durable,
        ..Default::default()
    }
}
