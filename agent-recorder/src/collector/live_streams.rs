//! The streams that are being written. Each has one connection, the newest.
//!
//! A daemon that lost its connection comes back before the collector notices the
//! loss. The old connection, which may be half-open for minutes, has to end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::record::StreamId;

/// Longest wait for the old connection to end, which takes a sync of the disk.
const MAKE_WAY: Duration = Duration::from_secs(20);

/// The reason why a stream cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotLive {
    /// The number of written streams has reached its limit.
    Full,
    /// The old connection does not end.
    Taken,
}

#[derive(Debug)]
struct Taken {
    stop: Arc<Notify>,
    gone: watch::Receiver<()>,
}

/// All streams that are being written.
#[derive(Debug)]
pub(super) struct LiveStreams {
    most: usize,
    taken: Mutex<HashMap<StreamId, Taken>>,
}

impl LiveStreams {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::new(HashMap::new()),
        })
    }

    /// Takes the right to write a stream. The present owner is asked to end.
    pub(super) async fn take(self: &Arc<Self>, stream: StreamId) -> Result<LiveStream, NotLive> {
        let wait = async {
            loop {
                let mut gone = match self.try_take(stream) {
                    Ok(stream) => return stream,
                    Err(gone) => gone,
                };
                // The value never changes; the channel closes when the owner ends.
                let _ = gone.changed().await;
            }
        };
        let taken = tokio::time::timeout(MAKE_WAY, wait).await;
        taken.map_err(|_| NotLive::Taken)?.ok_or(NotLive::Full)
    }

    fn try_take(
        self: &Arc<Self>,
        stream: StreamId,
    ) -> Result<Option<LiveStream>, watch::Receiver<()>> {
        let mut taken = self.lock();
        if let Some(other) = taken.get(&stream) {
            other.stop.notify_one();
            return Err(other.gone.clone());
        }
        if taken.len() >= self.most {
            return Ok(None);
        }
        let stop = Arc::new(Notify::new());
        let (here, gone) = watch::channel(());
        taken.insert(
            stream,
            Taken {
                stop: Arc::clone(&stop),
                gone,
            },
        );
        Ok(Some(LiveStream {
            all: Arc::clone(self),
            stream,
            stop,
            _here: here,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StreamId, Taken>> {
        // Each change is one call, so a panic elsewhere leaves the map consistent.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write a stream, which ends when this value is dropped.
#[derive(Debug)]
pub(super) struct LiveStream {
    all: Arc<LiveStreams>,
    stream: StreamId,
    stop: Arc<Notify>,
    _here: watch::Sender<()>,
}

impl LiveStream {
    /// Waits until a newer connection wants the stream.
    pub(super) async fn wanted(&self) {
        self.stop.notified().await;
    }
}

impl Drop for LiveStream {
    fn drop(&mut self) {
        self.all.lock().remove(&self.stream);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_connection_of_a_stream_takes_its_place() {
        let live_streams = LiveStreams::new(1);
        let stream = StreamId::generate();
        let old = live_streams.take(stream).await.unwrap();
        assert_eq!(
            live_streams.take(StreamId::generate()).await.unwrap_err(),
            NotLive::Full
        );
        let newer = tokio::spawn({
            let live_streams = Arc::clone(&live_streams);
            async move { live_streams.take(stream).await }
        });
        old.wanted().await;
        drop(old);
        let newer = newer.await.unwrap().unwrap();
        drop(newer);
        live_streams.take(StreamId::generate()).await.unwrap();
    }
}
