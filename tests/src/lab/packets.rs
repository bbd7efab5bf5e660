//! A line of IP packets that loses, delays and reorders them, as tc-netem(8) does,
//! for kernels without it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Longest wait for packets between checks for the end.
const TICK: Duration = Duration::from_millis(100);
/// More bytes than a packet has.
const PACKET: usize = 65_536;

/// The treatment of packets. Delay and jitter apply to each packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quality {
    /// Percentage of lost packets.
    pub lost: u64,
    /// Delay of all packets.
    pub delay: Duration,
    /// Largest further delay: a packet with a small one overtakes its predecessors.
    pub jitter: Duration,
}

/// Packets so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// Packets that arrived.
    pub arrived: u64,
    /// Packets that were lost.
    pub lost: u64,
    /// Packets that arrived after one that was sent later.
    pub overtaken: u64,
}

#[derive(Debug, Default)]
struct State {
    quality: Quality,
    carried: Carried,
    is_over: bool,
}

/// Carries between two TUN devices until it is dropped.
#[derive(Debug)]
pub(crate) struct Carrier {
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Carrier {
    pub(crate) fn start(ends: [File; 2]) -> Self {
        let state = Arc::<Mutex<State>>::default();
        let line = Line {
            ends,
            on_the_way: BinaryHeap::new(),
            state: Arc::clone(&state),
            sent: 0,
            arrived: [0; 2],
            random: 0x9e37_79b9_7f4a_7c15,
        };
        Self {
            state,
            thread: Some(thread::spawn(move || line.carry())),
        }
    }

    pub(crate) fn set(&self, quality: Quality) {
        lock(&self.state).quality = quality;
    }

    pub(crate) fn carried(&self) -> Carried {
        lock(&self.state).carried
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        lock(&self.state).is_over = true;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Ok(Err(why))) = ended {
            eprintln!("the line of packets broke: {why}");
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    // Counters and settings are valid after a panic.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Due time, number, destination and bytes of a packet.
type Packet = Reverse<(Instant, u64, usize, Vec<u8>)>;

struct Line {
    ends: [File; 2],
    on_the_way: BinaryHeap<Packet>,
    state: Arc<Mutex<State>>,
    sent: u64,
    /// The number of the last sent packet that arrived, at each end.
    arrived: [u64; 2],
    random: u64,
}

impl Line {
    fn carry(mut self) -> io::Result<()> {
        while !lock(&self.state).is_over {
            self.deliver()?;
            self.wait()?;
            self.collect(0)?;
            self.collect(1)?;
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<()> {
        let due = self.on_the_way.peek().map(|Reverse((due, ..))| *due);
        let left = due.map_or(TICK, |due| due.saturating_duration_since(Instant::now()));
        let timeout = Timespec::try_from(left.min(TICK)).map_err(io::Error::other)?;
        let mut ends = self
            .ends
            .each_ref()
            .map(|end| PollFd::new(end, PollFlags::IN));
        poll(&mut ends, Some(&timeout))?;
        Ok(())
    }

    /// Takes the packets from one end.
    fn collect(&mut self, from: usize) -> io::Result<()> {
        let mut packet = vec![0; PACKET];
        loop {
            let length = match self.ends[from].read(&mut packet) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                read => read?,
            };
            let quality = lock(&self.state).quality;
            if self.below(100) < quality.lost {
                lock(&self.state).carried.lost += 1;
                continue;
            }
            let jitter = self.below(quality.jitter.as_micros() as u64 + 1);
            let due = Instant::now() + quality.delay + Duration::from_micros(jitter);
            self.sent += 1;
            let packet = packet[..length].to_vec();
            self.on_the_way
                .push(Reverse((due, self.sent, 1 - from, packet)));
        }
    }

    /// Delivers the packets that are due.
    fn deliver(&mut self) -> io::Result<()> {
        while let Some(Reverse((due, ..))) = self.on_the_way.peek()
            && *due <= Instant::now()
            && let Some(Reverse((_, number, to, packet))) = self.on_the_way.pop()
        {
            self.ends[to].write_all(&packet)?;
            let carried = &mut lock(&self.state).carried;
            carried.arrived += 1;
            carried.overtaken += u64::from(number < self.arrived[to]);
            self.arrived[to] = self.arrived[to].max(number);
        }
        Ok(())
    }

    /// xorshift64, Marsaglia 2003: the fixed seed makes losses repeatable.
    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % end
    }
}
