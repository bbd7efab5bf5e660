//! A bad line between a daemon and a collector: slow, or cut in the middle of a
//! batch.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::{set_socket_linger, set_socket_recv_buffer_size};

/// Interval between two pieces on a slow line.
const TICK: Duration = Duration::from_millis(100);
/// The smallest receive buffer of a socket (socket(7), SO_RCVBUF): bytes in the
/// buffer pass quickly.
const QUEUE: usize = 2048;

/// A line that slows or cuts data towards the collector.
#[derive(Debug)]
pub struct Line {
    /// Where it is reached.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes per second; 0 for full speed.
    bytes_per_second: AtomicU64,
    /// Bytes that each next connection carries before it is reset.
    budgets: Vec<usize>,
    connections: AtomicUsize,
}

impl Line {
    /// A line to a collector. Connection n is reset after `budgets[n]` bytes.
    ///
    /// # Errors
    ///
    /// No port is free.
    pub fn to(
        collector: SocketAddr,
        bytes_per_second: u64,
        budgets: Vec<usize>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        set_socket_recv_buffer_size(&listener, QUEUE)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            bytes_per_second: AtomicU64::new(bytes_per_second),
            budgets,
            connections: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        // It ends with the test's process.
        thread::spawn(move || {
            for near in listener.incoming() {
                let state = Arc::clone(&shared);
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(collector)) else {
                    continue;
                };
                thread::spawn(move || carry(&near, &far, &state));
            }
        });
        Ok(Self { address, state })
    }

    /// Raises the speed to the full one.
    pub fn quicken(&self) {
        self.state.bytes_per_second.store(0, Ordering::SeqCst);
    }

    /// How many connections there were.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

fn carry(near: &TcpStream, far: &TcpStream, state: &State) {
    let number = state.connections.fetch_add(1, Ordering::SeqCst);
    let mut budget = state.budgets.get(number).copied();
    thread::scope(|scope| {
        scope.spawn(|| {
            // Answers have full speed. The line is cut when either end is gone.
            let _ = std::io::copy(&mut &*far, &mut &*near);
            let _ = near.shutdown(Shutdown::Both);
        });
        let mut buffer = vec![0; 64 << 10];
        loop {
            let rate = state.bytes_per_second.load(Ordering::SeqCst);
            let mut most = match rate {
                0 => buffer.len(),
                rate => usize::try_from(rate / 10)
                    .unwrap_or(1)
                    .clamp(1, buffer.len()),
            };
            if rate > 0 {
                thread::sleep(TICK);
            }
            most = most.min(budget.unwrap_or(usize::MAX));
            if most == 0 {
                // An end without linger is a reset (socket(7), SO_LINGER).
                let _ = set_socket_linger(near, Some(Duration::ZERO));
                break;
            }
            match (&mut &*near).read(&mut buffer[..most]) {
                Ok(0) => break,
                Ok(length) => {
                    if (&mut &*far).write_all(&buffer[..length]).is_err() {
                        break;
                    }
                    if let Some(left) = &mut budget {
                        *left -= length;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        let _ = far.shutdown(Shutdown::Both);
    });
}
