//! The two rings as one source of events, in the order of their times.
//!
//! The kernel wakes a ring's reader only if the reader had read everything. So the
//! reader waits a little after a wake-up before it drains, and the events of that
//! time cost no further wake-up. A forced wake-up (the guard, beginning and end of a
//! session) ends the wait.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use agent_recorder_abi::Pod;
use agent_recorder_abi::exec_gate::Held;
use aya::maps::{MapData, RingBuf};
use rustix::event::epoll;

use super::Error;

/// Time for which events gather before they are drained: 200 bytes an event and a
/// million events a second make 2 MB of ring.
const GATHER: Duration = Duration::from_millis(10);
/// Events of one batch, which bounds the memory during a flood.
const BATCH_EVENTS: usize = 16_384;

/// Every event is in its ring within this time after its timestamp, because hooks
/// cannot be preempted. Younger events wait for the next batch, so that an earlier
/// event in the other ring comes first. Nanoseconds.
const SETTLED_NS: u64 = 2_000_000;

/// Events in the order of their times.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    events: Vec<Place>,
    /// Index of the first event that waits for the next batch.
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

    /// Whether some events wait for the next batch.
    pub fn holds_back(&self) -> bool {
        self.ready < self.events.len()
    }

    /// Drops all events that the last batch delivered.
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
        // An event begins with its timestamp. `decode` refuses a shorter one.
        let time = event
            .first_chunk()
            .map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        self.events.push(Place {
            time,
            start,
            end: self.bytes.len(),
        });
    }

    /// Sorts the events, and makes those ready that are not younger than `settled`.
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

/// A started program that needs an immediate decision.
#[derive(Clone, Debug)]
pub enum Started {
    /// The kernel stopped the program, which waits for the gate.
    Held(Held),
    /// The program may make its process an heir (`agent_recorder_abi::written_file`).
    /// The bytes are the event of its exec.
    Heir(Vec<u8>),
}

/// Reasons for which [`Rings::wait`] returned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Woken {
    /// A ring has events.
    pub events: bool,
    /// The kernel stopped a program.
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
            // SAFETY: `self` owns the ring with this descriptor, and outlives the
            // borrow.
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

    /// Waits for an event or a stopped program, at most for `limit`, and lets events
    /// gather.
    ///
    /// # Errors
    ///
    /// epoll_wait(2) fails with another error than EINTR.
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

    /// Takes out the stopped programs, and those that may make heirs.
    pub fn started(&mut self) -> Vec<Started> {
        let mut started = Vec::new();
        while let Some(event) = self.gates.next() {
            started.extend(if event.len() == size_of::<Held>() {
                read(&event).map(Started::Held)
            } else {
                // A longer entry is the event of an exec.
                Some(Started::Heir(event.to_vec()))
            });
        }
        started
    }

    /// Takes out the events that have settled; with `last`, all. True when more
    /// events are left than one batch takes.
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
                // The events left in this ring are younger than the last one taken.
                settled = settled.min(batch.events.last().map_or(0, |place| place.time));
            }
        }
        batch.settle(settled);
        more
    }
}

fn read<T: Pod>(bytes: &[u8]) -> Option<T> {
    // SAFETY: `bytes` has at least the size of `T`, and every bit pattern is a valid
    // `T`; the read needs no alignment.
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
