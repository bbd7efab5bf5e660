//! The daemon's side of the stream to a collector.
//!
//! It reads its own spool, never the recorder: a collector that is slow or
//! gone costs the recorder nothing. What is acknowledged is kept beside the
//! stream, and after a break it goes on from what the collector holds.

mod sender;

pub(crate) use sender::PROTOCOL;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::record::{Seq, StreamId};
use crate::spool::Store;
use sender::Sending;

/// Where to, and what.
#[derive(Clone, Debug)]
pub struct Options {
    /// `http://HOST:PORT`.
    pub collector: String,
    /// The folder of streams.
    pub spool: PathBuf,
    /// The stream.
    pub stream: StreamId,
}

/// How far a recorder has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The last record that can be read.
    pub last: Seq,
    /// Records lost since it started, by every cause.
    pub lost: u64,
}

/// A stream on its way.
#[derive(Debug)]
pub struct Stream {
    progress: watch::Sender<Progress>,
    acknowledged: watch::Receiver<Seq>,
    task: tokio::task::JoinHandle<()>,
}

impl Stream {
    /// Sends in the running tokio runtime, for ever.
    pub fn start(options: Options) -> Self {
        let (progress, growth) = watch::channel(Progress {
            last: durable(&options),
            lost: 0,
        });
        let (sender, acknowledged) = watch::channel(Seq::default());
        let sending = Sending::new(options, growth, sender);
        Self {
            progress,
            acknowledged,
            task: tokio::spawn(sending.run()),
        }
    }

    /// Says how much there is to read, and what was lost.
    pub fn grown(&self, progress: Progress) {
        self.progress.send_if_modified(|known| {
            let changed = *known != progress;
            *known = progress;
            changed
        });
    }

    /// The last number that the collector has synced.
    pub fn acknowledged(&self) -> Seq {
        *self.acknowledged.borrow()
    }

    /// Waits until everything up to `last` is acknowledged, at most `limit`. How many records are left.
    pub async fn drain(mut self, last: Seq, limit: Duration) -> u64 {
        let deadline = Instant::now() + limit;
        while *self.acknowledged.borrow() < last {
            let rest = deadline.saturating_duration_since(Instant::now());
            // Out of time, or the sender has ended: what is left stays in the spool.
            if !matches!(
                tokio::time::timeout(rest, self.acknowledged.changed()).await,
                Ok(Ok(()))
            ) {
                break;
            }
        }
        self.task.abort();
        last.0.saturating_sub(self.acknowledged().0)
    }
}

/// What the spool held when sending began; 0 where nothing was durable yet.
fn durable(options: &Options) -> Seq {
    Store::open(&options.spool)
        .ok()
        .and_then(|store| store.head(options.stream))
        .map_or(Seq::default(), |(durable, _)| durable)
}

/// The file beside a stream that says how far it is acknowledged.
pub(crate) fn acknowledged_path(spool: &Path, stream: StreamId) -> PathBuf {
    spool.join(stream.to_string()).join("acked")
}
