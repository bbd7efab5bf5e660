//! Flow control: how many bytes may be sent without an acknowledgement.
//!
//! The window follows the collector: quick acknowledgements widen it, slow ones
//! narrow it. So the unacknowledged bytes are always about as much as the collector
//! takes in a few seconds. On a line of 1 KiB/s a wide window would delay the
//! keep-alive's answer by megabytes of records.
//!
//! Not here: sockets, and any clock but the times that callers pass.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::batch::BATCH_BYTES;
use crate::record::Seq;

/// First window, bytes. The speed of a new line is unknown, and each quick answer
/// doubles the window.
const FIRST: usize = 64 << 10;
/// Smallest window, bytes: some hundred records, 16 s at 1 KiB/s before compression.
const LEAST: usize = 16 << 10;
/// Largest window, bytes: four whole batches fill a quick line.
const MOST: usize = 4 * BATCH_BYTES;
/// Most unacknowledged batches. Small ones are bounded by number, because each is a
/// sync of the collector's disk.
const MOST_BATCHES: usize = 32;
/// Time up to which an acknowledgement is quick. Beyond `SLOW` it is slow.
const QUICK: Duration = Duration::from_secs(1);
const SLOW: Duration = Duration::from_secs(5);
/// Longest time without an acknowledgement, after which the collector counts as gone.
const DEADLINE: Duration = Duration::from_secs(30);

/// An acknowledgement that contradicts the batches sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAck {
    #[error("it acknowledges {through}, and only {sent} was sent")]
    Beyond { through: Seq, sent: Seq },
    #[error("it acknowledges {through} after {known}")]
    Backwards { through: Seq, known: Seq },
}

#[derive(Debug)]
struct Sent {
    last: Seq,
    bytes: usize,
    at: Instant,
}

/// The window of one connection.
#[derive(Debug)]
pub(super) struct Window {
    limit: usize,
    most: usize,
    on_way: VecDeque<Sent>,
    bytes: usize,
    last_sent: Seq,
    acknowledged: Seq,
    last_progress: Option<Instant>,
}

impl Window {
    /// Begins after the last record that the collector stores. `wish` is the size of
    /// the last connection's window.
    pub(super) fn new(held: Seq, told: u64, wish: Option<usize>) -> Self {
        let told = usize::try_from(told).unwrap_or(usize::MAX);
        let most = if told == 0 {
            MOST
        } else {
            told.clamp(LEAST, MOST)
        };
        Self {
            limit: wish.unwrap_or(FIRST).clamp(LEAST, most),
            most,
            on_way: VecDeque::new(),
            bytes: 0,
            last_sent: held,
            acknowledged: held,
            last_progress: None,
        }
    }

    /// The window of the next connection: a break shows that this one was too large.
    pub(super) fn after_break(&self) -> usize {
        (self.limit / 4).max(LEAST)
    }

    /// The largest useful batch now, bytes.
    pub(super) fn batch_bytes(&self) -> usize {
        self.limit.min(BATCH_BYTES)
    }

    /// Whether a batch of this size may be sent. A single one always may, so that a
    /// large record is not stuck.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.on_way.is_empty()
            || (self.on_way.len() < MOST_BATCHES && self.bytes + bytes <= self.limit)
    }

    pub(super) fn sent(&mut self, last: Seq, bytes: usize, now: Instant) {
        self.on_way.push_back(Sent {
            last,
            bytes,
            at: now,
        });
        self.bytes += bytes;
        self.last_sent = last;
    }

    pub(super) fn acknowledged(&mut self, through: Seq, now: Instant) -> Result<(), BadAck> {
        if through > self.last_sent {
            return Err(BadAck::Beyond {
                through,
                sent: self.last_sent,
            });
        }
        if through < self.acknowledged {
            return Err(BadAck::Backwards {
                through,
                known: self.acknowledged,
            });
        }
        if through > self.acknowledged {
            self.last_progress = Some(now);
        }
        self.acknowledged = through;
        while let Some(first) = self.on_way.front()
            && first.last <= through
        {
            let took = now.saturating_duration_since(first.at);
            if took < QUICK {
                self.limit = (self.limit * 2).min(self.most);
            } else if took > SLOW {
                self.limit = (self.limit / 2).max(LEAST);
            }
            self.bytes -= first.bytes;
            self.on_way.pop_front();
        }
        Ok(())
    }

    /// Whether a refusal of this number can belong to this connection.
    pub(super) fn covers(&self, seq: Seq) -> bool {
        seq > self.acknowledged && seq <= self.last_sent
    }

    /// The time at which the wait for an acknowledgement ends; `None` while no batch
    /// waits.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let first = self.on_way.front()?.at;
        Some(self.last_progress.map_or(first, |last| last.max(first)) + DEADLINE)
    }

    /// Batches and bytes without an acknowledgement.
    pub(super) fn on_way(&self) -> (usize, usize) {
        (self.on_way.len(), self.bytes)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const BATCH: usize = 64 << 10;

    fn filled(window: &mut Window, from: u64, now: Instant) -> u64 {
        let mut last = from;
        while window.takes(BATCH) {
            last += 1;
            window.sent(Seq(last), BATCH, now);
        }
        last
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_refused() {
        let mut window = Window::new(Seq(5), 0, None);
        let now = Instant::now();
        window.sent(Seq(9), 100, now);
        assert_eq!(
            window.acknowledged(Seq(10), now),
            Err(BadAck::Beyond {
                through: Seq(10),
                sent: Seq(9)
            })
        );
        window.acknowledged(Seq(8), now).unwrap();
        assert_eq!(
            window.acknowledged(Seq(7), now),
            Err(BadAck::Backwards {
                through: Seq(7),
                known: Seq(8)
            })
        );
        assert_eq!(window.on_way(), (1, 100));
    }

    #[test]
    fn what_is_on_its_way_is_bounded_however_quick_the_collector() {
        let mut window = Window::new(Seq(0), 0, None);
        let now = Instant::now();
        let mut last = 0;
        for _ in 0..20 {
            last = filled(&mut window, last, now);
            assert!(window.on_way().1 <= MOST);
            window.acknowledged(Seq(last), now).unwrap();
        }
        assert_eq!(window.batch_bytes(), BATCH_BYTES);
        for seq in 0..1000 {
            if window.takes(1) {
                window.sent(Seq(last + seq + 1), 1, now);
            }
        }
        assert_eq!(window.on_way().0, MOST_BATCHES);
    }

    #[test]
    fn a_slow_collector_narrows_the_window_and_a_told_one_bounds_it() {
        let mut window = Window::new(Seq(0), 0, None);
        let mut now = Instant::now();
        for seq in 1..20 {
            window.sent(Seq(seq), BATCH, now);
            now += SLOW * 2;
            window.acknowledged(Seq(seq), now).unwrap();
        }
        assert_eq!(window.batch_bytes(), LEAST);
        assert!(window.takes(BATCH), "one alone may always leave");
        let told = Window::new(Seq(0), 1, None);
        assert_eq!(told.batch_bytes(), LEAST);
    }

    #[test]
    fn silence_is_noticed_from_the_last_progress_on() {
        let mut window = Window::new(Seq(0), 0, None);
        let begin = Instant::now();
        assert_eq!(window.deadline(), None);
        window.sent(Seq(1), 1, begin);
        window.sent(Seq(2), 1, begin);
        assert_eq!(window.deadline(), Some(begin + DEADLINE));
        let later = begin + SLOW;
        window.acknowledged(Seq(1), later).unwrap();
        assert_eq!(window.deadline(), Some(later + DEADLINE));
        window.acknowledged(Seq(1), later + SLOW).unwrap();
        assert_eq!(window.deadline(), Some(later + DEADLINE));
    }
}
