//! Bytes that reach a socket by other calls than write(2) and send(2).

use std::io::{Read as _, Seek as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, RawFd};

use anyhow::ensure;
use serde_json::json;

use super::Stimulus;

/// Bytes that each call sends.
const SENDFILE: usize = 700;
const SPLICE: usize = 300;
const SENDMMSG: [usize; 2] = [40, 2];

impl Stimulus {
    /// One connection, through which each of the calls sends something.
    pub(super) fn transfers(&mut self) -> anyhow::Result<()> {
        let (listener, here) = self.listener("127.0.0.1")?;
        let mut client = TcpStream::connect(&here)?;
        let there = client.local_addr()?.to_string();
        let ends = json!({"local": there, "peer": here});
        self.network("CONNECT", "TCP", ends, Ok(0));
        let mut server = self.accept(&listener)?;
        let to = client.as_raw_fd();
        let lengths = [sendfile(to)?, splice(to)?, sendmmsg(to)?];
        let sent: usize = lengths.iter().sum();
        server.read_exact(&mut vec![0; sent])?;
        server.write_all(b"!")?;
        client.read_exact(&mut [0; 1])?;
        drop(client);
        self.closed("TCP", &there, Some(&here), (sent as u64, 1));
        drop(server);
        self.closed("TCP", &here, Some(&there), (1, sent as u64));
        drop(listener);
        self.closed("TCP", &here, None, (0, 0));
        Ok(())
    }
}

fn sendfile(to: RawFd) -> anyhow::Result<usize> {
    let mut from = tempfile::tempfile()?;
    from.write_all(&[1; SENDFILE])?;
    from.rewind()?;
    // SAFETY: both descriptors are open; no offset is given.
    let sent = unsafe { libc::sendfile(to, from.as_raw_fd(), std::ptr::null_mut(), SENDFILE) };
    ensure!(sent == SENDFILE as isize, "sendfile: {sent}");
    Ok(SENDFILE)
}

fn splice(to: RawFd) -> anyhow::Result<usize> {
    let (from, mut fill) = std::io::pipe()?;
    fill.write_all(&[2; SPLICE])?;
    let none = std::ptr::null_mut();
    // SAFETY: both descriptors are open; no offsets are given.
    let sent = unsafe { libc::splice(from.as_raw_fd(), none, to, none, SPLICE, 0) };
    ensure!(sent == SPLICE as isize, "splice: {sent}");
    Ok(SPLICE)
}

fn sendmmsg(to: RawFd) -> anyhow::Result<usize> {
    let mut buffers = SENDMMSG.map(|length| vec![3u8; length]);
    let mut vectors = buffers.each_mut().map(|buffer| libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    });
    let mut messages = vectors.each_mut().map(|vector| {
        // SAFETY: all-zero is a valid `mmsghdr`.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        message.msg_hdr.msg_iov = vector;
        message.msg_hdr.msg_iovlen = 1;
        message
    });
    // SAFETY: the messages and what they point to live through the call.
    let sent = unsafe { libc::sendmmsg(to, messages.as_mut_ptr(), 2, 0) };
    ensure!(sent == 2, "sendmmsg: {sent}");
    Ok(SENDMMSG.iter().sum())
}
