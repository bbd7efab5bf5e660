//! The two rings as one source of events, in the order of their times.
//!
//! Waking: the kernel wakes a ring's reader only when the reader had caught
//! up. So after a wake-up the reader waits a little before it drains, and
//! everything made meanwhile costs no wake-up; an event that asks for it by
//! force (the guard's, a session's begin and end) ends that wait.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use rustix::event::epoll;

use super::Error;

/// How long events may gather before they are drained: at 200 bytes an event
/// and a million a second, 2 MB of ring.
const GATHER: Duration = Duration::from_millis(10);
/// Events taken out in one go; keeps memory bounded while a flood lasts.
const BATCH_EVENTS: usize = 16_384;

/// Events drained in one go.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// (time, start, end) in `bytes`.
    events: Vec<(u64, usize, usize)>,
}

impl Batch {
    /// The events, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.events.iter().map(|&(_, start, end)| &self.bytes[start..end])
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.events.clear();
    }

    fn push(&mut self, event: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(event);
        // Events begin with their time; a shorter one is refused by `decode`.
        let time = event.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        self.events.push((time, start, self.bytes.len()));
    }
}

/// Both rings.
pub struct Rings {
    priority: RingBuf<MapData>,
    bulk: RingBuf<MapData>,
    epoll: OwnedFd,
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rings").finish_non_exhaustive()
    }
}

/// What woke [`Rings::wait`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Woken {
    /// A ring has events.
    pub events: bool,
    /// The descriptor given to [`Rings::watch`] is readable.
    pub other: bool,
}

const RING: u64 = 0;
const OTHER: u64 = 1;

impl Rings {
    pub(super) fn new(priority: RingBuf<MapData>, bulk: RingBuf<MapData>) -> Result<Self, Error> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system("epoll_create1(2)"))?;
        for fd in [priority.as_raw_fd(), bulk.as_raw_fd()] {
            // SAFETY: the rings own these descriptors and live as long as `self`.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            epoll::add(&epoll, fd, epoll::EventData::new_u64(RING), epoll::EventFlags::IN | epoll::EventFlags::ET)
                .map_err(system("epoll_ctl(2) on a ring"))?;
        }
        Ok(Self { priority, bulk, epoll })
    }

    /// Has [`Rings::wait`] end when `other` becomes readable, too.
    ///
    /// # Errors
    ///
    /// epoll_ctl(2) refuses.
    pub fn watch(&self, other: BorrowedFd<'_>) -> Result<(), Error> {
        epoll::add(&self.epoll, other, epoll::EventData::new_u64(OTHER), epoll::EventFlags::IN)
            .map_err(system("epoll_ctl(2)"))
    }

    /// Waits until there is something to do, at most `limit`, and lets events gather.
    ///
    /// # Errors
    ///
    /// epoll_wait(2) fails otherwise than by a signal.
    pub fn wait(&self, limit: Duration) -> Result<Woken, Error> {
        let mut woken = self.poll(limit)?;
        if woken.events && !woken.other {
            let second = self.poll(GATHER)?;
            woken.other = second.other;
        }
        Ok(woken)
    }

    fn poll(&self, limit: Duration) -> Result<Woken, Error> {
        let mut space = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 4];
        let timeout = rustix::time::Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let count = match epoll::wait(&self.epoll, &mut space, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => 0,
            result => result.map_err(system("epoll_wait(2)"))?,
        };
        let mut woken = Woken::default();
        for event in &space[..count] {
            if event.data.u64() == OTHER {
                woken.other = true;
            } else {
                woken.events = true;
            }
        }
        Ok(woken)
    }

    /// Takes out what is there. True when more was left than one batch holds.
    pub fn drain(&mut self, batch: &mut Batch) -> bool {
        batch.clear();
        let mut more = false;
        for ring in [&mut self.priority, &mut self.bulk] {
            let mut taken = 0;
            while let Some(event) = ring.next() {
                batch.push(&event);
                taken += 1;
                if taken == BATCH_EVENTS {
                    more = true;
                    break;
                }
            }
        }
        batch.events.sort_by_key(|&(time, ..)| time);
        more
    }
}

fn system(what: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    move |errno| Error::System { what, source: io::Error::from(errno) }
}
