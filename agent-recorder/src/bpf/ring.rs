//! The two rings as one source of events, in the order of their times.
//!
//! Waking: the kernel wakes a ring's reader only when the reader had caught
//! up. So after a wake-up the reader waits a little before it drains, and
//! everything made meanwhile costs no wake-up; an event that asks for it by
//! force (the guard's, a session's begin and end) ends that wait.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use agent_recorder_abi::Pod;
use agent_recorder_abi::exec_gate::Held;
use aya::maps::{MapData, RingBuf};
use rustix::event::epoll;

use super::Error;

/// How long events may gather before they are drained: at 200 bytes an event
/// and a million a second, 2 MB of ring.
const GATHER: Duration = Duration::from_millis(10);
/// Events taken out in one go; keeps memory bounded while a flood lasts.
const BATCH_EVENTS: usize = 16_384;

/// An event is handed over within this after it took its time: hooks cannot be
/// preempted. Younger ones wait for the next batch, so that what the other
/// ring still gets from before them comes first.
const SETTLED_NS: u64 = 2_000_000;

/// Events in the order of their times.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    events: Vec<Place>,
    /// Events from here on are for the next batch.
    ready: usize,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    time: u64,
    start: usize,
    end: usize,
}

impl Batch {
    /// The events, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.events[..self.ready]
            .iter()
            .map(|place| &self.bytes[place.start..place.end])
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ready == 0
    }

    /// Whether some are held back for the next batch.
    pub fn holds_back(&self) -> bool {
        self.ready < self.events.len()
    }

    /// Keeps only what the last batch left over.
    fn advance(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let events = std::mem::take(&mut self.events);
        for place in &events[self.ready..] {
            self.push(&bytes[place.start..place.end]);
        }
        self.ready = 0;
    }

    fn push(&mut self, event: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(event);
        // Events begin with their time; a shorter one is refused by `decode`.
        let time = event
            .first_chunk()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        self.events.push(Place {
            time,
            start,
            end: self.bytes.len(),
        });
    }

    /// Sorts, and makes ready what is not younger than `settled`.
    fn settle(&mut self, settled: u64) {
        self.events.sort_by_key(|place| place.time);
        self.ready = self.events.partition_point(|place| place.time <= settled);
    }
}

/// Both rings.
pub struct Rings {
    priority: RingBuf<MapData>,
    bulk: RingBuf<MapData>,
    gates: RingBuf<MapData>,
    epoll: OwnedFd,
}

impl std::fmt::Debug for Rings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rings").finish_non_exhaustive()
    }
}

/// A program that something is to be done about at once.
#[derive(Clone, Debug)]
pub enum Started {
    /// It was stopped, and waits to be judged.
    Held(Held),
    /// It perhaps makes its process an heir (`agent_recorder_abi::written_file`): an event of its exec.
    Heir(Vec<u8>),
}

/// What woke [`Rings::wait`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Woken {
    /// A ring has events.
    pub events: bool,
    /// A program is stopped.
    pub gate: bool,
    /// The descriptor given to [`Rings::watch`] is readable.
    pub other: bool,
}

const RING: u64 = 0;
const OTHER: u64 = 1;
const GATE: u64 = 2;

impl Rings {
    pub(super) fn new(
        priority: RingBuf<MapData>,
        bulk: RingBuf<MapData>,
        gates: RingBuf<MapData>,
    ) -> Result<Self, Error> {
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(system("epoll_create1(2)"))?;
        for (fd, data) in [
            (priority.as_raw_fd(), RING),
            (bulk.as_raw_fd(), RING),
            (gates.as_raw_fd(), GATE),
        ] {
            // SAFETY: the rings own these descriptors and live as long as `self`.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            epoll::add(
                &epoll,
                fd,
                epoll::EventData::new_u64(data),
                epoll::EventFlags::IN | epoll::EventFlags::ET,
            )
            .map_err(system("epoll_ctl(2) on a ring"))?;
        }
        Ok(Self {
            priority,
            bulk,
            gates,
            epoll,
        })
    }

    /// Has [`Rings::wait`] end when `other` becomes readable, too.
    ///
    /// # Errors
    ///
    /// epoll_ctl(2) refuses.
    pub fn watch(&self, other: BorrowedFd<'_>) -> Result<(), Error> {
        epoll::add(
            &self.epoll,
            other,
            epoll::EventData::new_u64(OTHER),
            epoll::EventFlags::IN,
        )
        .map_err(system("epoll_ctl(2)"))
    }

    /// Waits until there is something to do, at most `limit`, and lets events gather.
    ///
    /// # Errors
    ///
    /// epoll_wait(2) fails otherwise than by a signal.
    pub fn wait(&self, limit: Duration) -> Result<Woken, Error> {
        let mut woken = self.poll(limit)?;
        if woken.events && !woken.other && !woken.gate {
            let second = self.poll(GATHER)?;
            woken.other = second.other;
            woken.gate = second.gate;
        }
        Ok(woken)
    }

    fn poll(&self, limit: Duration) -> Result<Woken, Error> {
        let mut space = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 4];
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
            match event.data.u64() {
                OTHER => woken.other = true,
                GATE => woken.gate = true,
                _ => woken.events = true,
            }
        }
        Ok(woken)
    }

    /// Takes out the programs that were stopped, and those that make heirs.
    pub fn started(&mut self) -> Vec<Started> {
        let mut started = Vec::new();
        while let Some(event) = self.gates.next() {
            started.extend(if event.len() == size_of::<Held>() {
                read(&event).map(Started::Held)
            } else {
                // An exec is longer than that.
                Some(Started::Heir(event.to_vec()))
            });
        }
        started
    }

    /// Takes out what is there and has settled; with `last`, all of it. True when more is there than one batch holds.
    pub fn drain(&mut self, batch: &mut Batch, last: bool) -> bool {
        batch.advance();
        let mut settled = if last {
            u64::MAX
        } else {
            boot_ns().saturating_sub(SETTLED_NS)
        };
        let mut more = false;
        for ring in [&mut self.priority, &mut self.bulk] {
            let before = batch.events.len();
            while batch.events.len() - before < BATCH_EVENTS {
                let Some(event) = ring.next() else { break };
                batch.push(&event);
            }
            if batch.events.len() - before == BATCH_EVENTS {
                more = true;
                // What this ring still holds is younger than what was taken.
                settled = settled.min(batch.events.last().map_or(0, |place| place.time));
            }
        }
        batch.settle(settled);
        more
    }
}

fn read<T: Pod>(bytes: &[u8]) -> Option<T> {
    // SAFETY: of the type's size, and any bytes are a value of it.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn boot_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}

fn system(what: &'static str) -> impl Fn(rustix::io::Errno) -> Error {
    move |errno| Error::System {
        what,
        source: io::Error::from(errno),
    }
}
