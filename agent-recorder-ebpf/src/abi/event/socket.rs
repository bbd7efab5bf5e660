//! Socket operations, and questions to name servers.
//!
//! Not here: what the programs remember of a socket between two events (`state`),
//! and the addresses themselves (`address`).

use crate::pod::pod;

/// Socket operations, as `NetworkOp` in record.proto numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the system calls' own names")]
pub enum NetOp {
    Connect = 1,
    Accept = 2,
    Listen = 3,
    Bind = 4,
    Send = 5,
    Close = 6,
}

/// A connect was begun and its outcome is awaited (in [`crate::state::Socket`]).
pub const SOCKET_PENDING: u32 = 1;
/// That connect is all that was done with it: if it fails, there is nothing that could end.
pub const SOCKET_FRESH: u32 = 2;
/// Its connect succeeded and was told of.
pub const SOCKET_CONNECTED: u32 = 4;

/// Body of [`Kind::Network`]. Segments: local address, peer address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct NetBody {
    /// [`NetOp`].
    pub op: u8,
    /// [`VIA_SYSCALL`] or [`VIA_URING`].
    pub via: u8,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`.
    pub socket_kind: u16,
    /// None yet.
    pub spare: u16,
    /// errno, 0 for success.
    pub error: u32,
    /// Length of the segment.
    pub local_len: u16,
    /// Length of the segment.
    pub peer_len: u16,
    /// CLOSE: bytes that were sent.
    pub sent: u64,
    /// CLOSE: bytes that were received.
    pub received: u64,
}

/// Body of [`Kind::Dns`]. Segments: server address, the datagram's beginning.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DnsBody {
    /// Length of the segment.
    pub server_len: u16,
    /// Length of the segment.
    pub payload_len: u16,
    /// None yet.
    pub spare: u32,
}

pod! { NetBody = 32, DnsBody = 8 }
