//! Sends datagrams to an address that another thread changes all the time, and
//! connects to it: the receiver is the truth, whatever the address was when it was
//! read.
//!
//! `stimulus swap_address DIRECTORY ROUNDS`; the directory is not used. It continues
//! until both receivers were reached: where CPUs are emulated one after the other,
//! the other thread can be late.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use agent_recorder_tests::stimuli::{Script, outcome};
use anyhow::{Context as _, ensure};
use serde_json::json;

const USAGE: &str = "stimulus swap_address DIRECTORY ROUNDS";

/// Rounds after which the other thread counts as stuck.
const MOST_ROUNDS: usize = 50_000;

/// `struct sockaddr_in` (ip(7)).
#[repr(C)]
struct Address {
    family: u16,
    /// Network order.
    port: AtomicU16,
    ip: [u8; 4],
    zero: [u8; 8],
}

const ADDRESS_BYTES: libc::socklen_t = size_of::<Address>() as libc::socklen_t;

impl Address {
    fn of(port: u16) -> Self {
        Self {
            family: libc::AF_INET as u16,
            port: AtomicU16::new(port.to_be()),
            ip: [127, 0, 0, 1],
            zero: [0; 8],
        }
    }

    fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const *self).cast()
    }
}

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let rounds = words.get(1).context(USAGE)?;
    let rounds: usize = rounds.to_str().context(USAGE)?.parse()?;
    let mut script = Script::default();
    let receivers = [
        UdpSocket::bind("127.0.0.1:0")?,
        UdpSocket::bind("127.0.0.1:0")?,
    ];
    let ports = [
        receivers[0].local_addr()?.port(),
        receivers[1].local_addr()?.port(),
    ];
    for receiver in &receivers {
        receiver.set_nonblocking(true)?;
    }
    let got = |index: usize| receivers[index].recv(&mut [0; 1]).map(|_| ());
    under_attack(ports, |address| {
        let mut reached = [false; 2];
        for round in 0..MOST_ROUNDS {
            if round >= rounds && reached == [true; 2] {
                break;
            }
            let sent = one(libc::SOCK_DGRAM, |fd| {
                // SAFETY: `address` outlives the call; whichever port the kernel
                // reads, the address is valid.
                unsafe {
                    libc::sendto(
                        fd,
                        b"x".as_ptr().cast(),
                        1,
                        0,
                        address.as_ptr(),
                        ADDRESS_BYTES,
                    ) as i64
                }
            })?;
            ensure!(sent == 1, "sendto: {sent}");
            let index = who(got)?;
            reached[index] = true;
            let peer = ports[index];
            script.did(
                "network",
                json!({"op": "SEND", "peer": format!("127.0.0.1:{peer}")}),
                Ok(0),
            );
        }
        Ok(())
    })?;
    let listeners = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    let ports = [
        listeners[0].local_addr()?.port(),
        listeners[1].local_addr()?.port(),
    ];
    for listener in &listeners {
        listener.set_nonblocking(true)?;
    }
    let got = |index: usize| listeners[index].accept().map(|_| ());
    under_attack(ports, |address| {
        let mut reached = [false; 2];
        for round in 0..MOST_ROUNDS {
            if round >= rounds && reached == [true; 2] {
                break;
            }
            let connected = one(libc::SOCK_STREAM, |fd| {
                // SAFETY: `address` outlives the call; whichever port the kernel
                // reads, the address is valid.
                unsafe { libc::connect(fd, address.as_ptr(), ADDRESS_BYTES).into() }
            })?;
            ensure!(
                connected == 0,
                "connect: {}",
                std::io::Error::last_os_error()
            );
            let index = who(got)?;
            reached[index] = true;
            let peer = ports[index];
            script.did(
                "network",
                json!({"op": "CONNECT", "peer": format!("127.0.0.1:{peer}")}),
                Ok(0),
            );
        }
        Ok(())
    })?;
    Ok(script.tell()?)
}

/// Calls `act` with a new socket.
fn one(kind: i32, act: impl FnOnce(i32) -> i64) -> anyhow::Result<i64> {
    // SAFETY: takes numbers.
    let fd = unsafe { libc::socket(libc::AF_INET, kind, 0) };
    outcome(fd.into()).map_err(anyhow::Error::msg)?;
    // SAFETY: the descriptor was just opened, and has no other owner.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    Ok(act(socket.as_raw_fd()))
}

/// Waits for one of two receivers, and returns its index.
fn who(got: impl Fn(usize) -> std::io::Result<()>) -> anyhow::Result<usize> {
    loop {
        for index in [0, 1] {
            match got(index) {
                Ok(()) => return Ok(index),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn under_attack(
    ports: [u16; 2],
    work: impl FnOnce(&Address) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let address = Address::of(ports[0]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // One store a round: an emulated CPU is interrupted between rounds only.
            for port in ports.into_iter().cycle() {
                address.port.store(port.to_be(), Ordering::Relaxed);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let result = work(&address);
        done.store(true, Ordering::Relaxed);
        result
    })
}
