//! One side of a socket, as events and maps hold it.

use crate::limits::SOCKADDR_BYTES;
use crate::pod::pod;

/// A socket address, of which a family uses a part.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// `AF_INET`, `AF_INET6` or `AF_UNIX`; 0 for none.
    pub family: u16,
    /// Port in host order.
    pub port: u16,
    /// Bytes of `bytes` in use.
    pub len: u16,
    /// Always 0.
    pub spare: u16,
    /// Address in network order for inet; path or abstract name for unix.
    pub bytes: [u8; SOCKADDR_BYTES],
}

impl Address {
    /// No address.
    pub const NONE: Self = Self {
        family: 0,
        port: 0,
        len: 0,
        spare: 0,
        bytes: [0; SOCKADDR_BYTES],
    };
}

impl Default for Address {
    fn default() -> Self {
        Self::NONE
    }
}

/// Bytes of an inet [`Address`] in events.
pub const ADDRESS_INET_BYTES: usize = 24;
/// Bytes of a unix [`Address`] in events.
pub const ADDRESS_UNIX_BYTES: usize = 8 + SOCKADDR_BYTES;

pod! { Address = 120 }
