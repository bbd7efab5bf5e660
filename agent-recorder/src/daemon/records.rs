//! When records become durable: the recorder's end of the spool.
//!
//! Not here: how they are stored (`spool`).

use std::time::{Duration, Instant};

use crate::record::proto;
use crate::spool::{self, Spool};

/// So often what is too old or too much is looked for in the spool.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);
/// Records are durable this long after they were made, at the latest.
const SYNC_INTERVAL: Duration = Duration::from_millis(500);

/// The stream that is written.
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

    /// What the spool has to say of itself, once.
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
        // That there was a session must not be lost, whatever its first act is.
        if begins {
            self.sync();
        }
    }

    /// What cannot be written now is held by the spool, which says so: the
    /// recorder and its guard go on, and the next interval tries again.
    pub(super) fn sync(&mut self) {
        self.unsynced = self.spool.sync().is_err();
        self.last_sync = Instant::now();
    }

    /// The same at the end, when there is no next interval.
    pub(super) fn sync_at_end(&mut self) -> Result<(), spool::Error> {
        self.spool.sync()?;
        Ok(())
    }

    /// Writes what is framed. False where the disk does not take it.
    pub(super) fn flush(&mut self) -> bool {
        self.spool.flush()
    }

    /// How long nothing is to be made durable; `None` where nothing waits for it.
    pub(super) fn until_sync(&self) -> Option<Duration> {
        self.unsynced
            .then(|| SYNC_INTERVAL.saturating_sub(self.last_sync.elapsed()))
    }

    /// Takes away what is too old or too much, and makes durable what is due.
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
