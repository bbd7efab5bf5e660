//! Socket operations, and DNS questions.
//!
//! Not here: the programs' state of a socket between two events (`state`), and the
//! addresses themselves (`address`).

use crate::pod::pod;

/// Socket operations, with the numbers of `NetworkOp` in record.proto.
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

/// A connect has begun, and its result is pending (in [`crate::state::Socket`]).
pub const SOCKET_PENDING: u32 = 1;
/// The pending connect is the only operation on the socket: if it fails, the socket
/// has no end to emit.
pub const SOCKET_FRESH: u32 = 2;
/// The connect succeeded, and its event was emitted.
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
    /// Always 0.
    pub spare: u16,
    /// errno, 0 for success.
    pub error: u32,
    /// Length of the local address, bytes.
    pub local_len: u16,
    /// Length of the peer's address, bytes.
    pub peer_len: u16,
    /// Bytes sent, of a CLOSE.
    pub sent: u64,
    /// Bytes received, of a CLOSE.
    pub received: u64,
}

/// Body of [`Kind::Dns`]. Segments: server address, the datagram's beginning.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DnsBody {
    /// Length of the server's address, bytes.
    pub server_len: u16,
    /// Length of the datagram's beginning, bytes.
    pub payload_len: u16,
    /// Always 0.
    pub spare: u32,
}

pod! { NetBody = 32, DnsBody = 8 }
