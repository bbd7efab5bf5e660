//! When records become durable: the recorder's end of the spool.
//!
//! Not here: the storage of records (`spool`).

use std::time::{Duration, Instant};

use crate::record::proto;
use crate::spool::{self, Spool};

/// Interval at which segments beyond the limits of age and size are removed from the
/// spool.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);
/// Longest time until a record is durable.
const SYNC_INTERVAL: Duration = Duration::from_millis(500);

/// The stream that this recorder writes.
#[derive(Debug)]
pub(super) struct Records {
    spool: Spool,
    last_sync: Instant,
    unsynced: bool,
    last_tidy: Instant,
}

impl Records {
    pub(super) fn of(spool: Spool) -> Self {
        let now = Instant::now();
        Self {
            spool,
            last_sync: now,
            unsynced: false,
            last_tidy: now,
        }
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Records of the spool about itself, each returned once.
    pub(super) fn take_news(&mut self) -> Vec<proto::record::Body> {
        self.spool.take_news().into_iter().collect()
    }

    pub(super) fn append(&mut self, records: impl IntoIterator<Item = proto::Record>) {
        let mut begins = false;
        for record in records {
            begins |= matches!(record.body, Some(proto::record::Body::SessionStart(_)));
            self.spool.append(record);
            self.unsynced = true;
        }
        // A session's first record must not be lost, whatever its first act is.
        if begins {
            self.sync();
        }
    }

    /// Makes the records durable. If the disk refuses them, the spool holds and
    /// reports them: the recorder and its guard continue, and the next interval tries
    /// again.
    pub(super) fn sync(&mut self) {
        self.unsynced = self.spool.sync().is_err();
        self.last_sync = Instant::now();
    }

    /// Makes the records durable at the end, when no interval follows.
    pub(super) fn sync_at_end(&mut self) -> Result<(), spool::Error> {
        self.spool.sync()?;
        Ok(())
    }

    /// Writes the framed records. False where the disk refuses them.
    pub(super) fn flush(&mut self) -> bool {
        self.spool.flush()
    }

    /// Time until records have to be made durable; `None` where none waits.
    pub(super) fn until_sync(&self) -> Option<Duration> {
        self.unsynced
            .then(|| SYNC_INTERVAL.saturating_sub(self.last_sync.elapsed()))
    }

    /// Removes segments beyond the limits, and makes records durable when they are
    /// due.
    pub(super) fn on_tick(&mut self) {
        if self.last_tidy.elapsed() >= TIDY_INTERVAL {
            self.last_tidy = Instant::now();
            self.spool.tidy();
        }
        if self.unsynced && self.last_sync.elapsed() >= SYNC_INTERVAL {
            self.sync();
        } else {
            self.spool.flush();
        }
    }
}
