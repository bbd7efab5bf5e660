//! The daemon's side of the stream to a collector.
//!
//! It reads its own spool, never the recorder: a slow or absent collector costs the
//! recorder nothing. The acknowledged number is stored beside the stream. After a
//! break the stream continues from the records that the collector stores.
//!
//! A fault or a refusal of the collector is handed to the recorder as a
//! [`Declaration`], which becomes a record of the stream.
//!
//! Not here: durability (`spool`), and the meaning of a record.

mod batch;
mod clock;
mod connect;
mod options;
mod progress;
mod refused;
mod sender;
mod window;

pub(crate) use batch::{BATCH_BYTES, BATCH_RECORDS};
pub use options::Options;
pub(crate) use options::acknowledged_path;
pub use progress::{Declaration, Flow, Progress};
pub(crate) use sender::PROTOCOL;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, watch};

use crate::record::Seq;
use sender::{Sending, Watched};

/// Most declarations that wait for the recorder. Each is rare, and further ones add
/// nothing new.
const QUEUED_DECLARATIONS: usize = 16;
/// Most streams of earlier recorders that are sent at one time, beside the recorder's
/// own.
const EARLIER_AT_ONCE: usize = 4;

/// The sender of a stream.
#[derive(Debug)]
pub struct Stream {
    progress: watch::Sender<Progress>,
    flow: watch::Receiver<Flow>,
    declare: mpsc::Sender<Declaration>,
    declarations: mpsc::Receiver<Declaration>,
    task: tokio::task::JoinHandle<()>,
}

impl Stream {
    /// Sends in the running tokio runtime, without end.
    pub fn start(options: Options) -> Self {
        let (progress, growth) = watch::channel(Progress::default());
        let (sender, flow) = watch::channel(Flow::default());
        let (declare, declarations) = mpsc::channel(QUEUED_DECLARATIONS);
        let watched = Watched {
            progress: growth,
            flow: sender,
            declare: declare.clone(),
        };
        Self {
            progress,
            flow,
            declare,
            declarations,
            task: tokio::spawn(Sending::new(options, watched, false).run()),
        }
    }

    /// Tells the sender how much there is to read, and how many records were lost.
    pub fn grown(&self, progress: Progress) {
        self.progress.send_if_modified(|known| {
            let changed = *known != progress;
            *known = progress;
            changed
        });
    }

    /// The next declaration to record.
    pub fn declaration(&mut self) -> Option<Declaration> {
        self.declarations.try_recv().ok()
    }

    /// The state of the stream.
    pub fn flow(&self) -> Flow {
        *self.flow.borrow()
    }

    /// The last number that the collector has synced.
    pub fn acknowledged(&self) -> Seq {
        self.flow().acknowledged
    }

    /// Waits until every record up to `last` is acknowledged, at most `limit`.
    /// Returns how many records are left.
    pub async fn drain(mut self, last: Seq, limit: Duration) -> u64 {
        let deadline = Instant::now() + limit;
        while self.acknowledged() < last {
            let rest = deadline.saturating_duration_since(Instant::now());
            // The time is over, or the sender has ended: the records stay in the
            // spool.
            if !matches!(
                tokio::time::timeout(rest, self.flow.changed()).await,
                Ok(Ok(()))
            ) {
                break;
            }
        }
        last.0.saturating_sub(self.acknowledged().0)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Streams that earlier recorders left. They no longer grow, and each is done once it
/// is acknowledged.
#[derive(Debug)]
pub struct Earlier {
    tasks: tokio::task::JoinSet<()>,
}

impl Earlier {
    /// Sends them in the running tokio runtime, a few at a time, beside the
    /// recorder's own stream, which also receives their declarations.
    pub fn start(streams: Vec<Options>, beside: &Stream) -> Self {
        let turns = Arc::new(Semaphore::new(EARLIER_AT_ONCE));
        let mut tasks = tokio::task::JoinSet::new();
        for options in streams {
            let turns = Arc::clone(&turns);
            let watched = Watched::nobody(beside.declare.clone());
            tasks.spawn(async move {
                // The semaphore is never closed.
                let Ok(_turn) = turns.acquire().await else {
                    return;
                };
                Sending::new(options, watched, true).run().await;
            });
        }
        Self { tasks }
    }

    /// Waits until all streams are acknowledged to their end.
    pub async fn finished(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
