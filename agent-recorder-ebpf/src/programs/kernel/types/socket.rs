//! Sockets: `struct socket`, which a file leads to, and `struct sock`, which
//! the network knows.
//!
//! Not here: their addresses (`event::address`).

use super::file::File;
use super::object::kernel_object;
use crate::kernel::read::offset;

kernel_object! {
    /// `struct socket`.
    Socket
}

impl Socket {
    /// Of a file that is one.
    #[inline(always)]
    pub(crate) fn of(file: File) -> Self {
        Self(file.private())
    }

    #[inline(always)]
    pub(crate) fn sock(self) -> Sock {
        self.field(offset!(socket_sk))
    }

    /// `SOCK_…`.
    #[inline(always)]
    pub(crate) fn kind(self) -> u16 {
        self.field(offset!(socket_type))
    }

    #[inline(always)]
    pub(crate) fn file(self) -> File {
        self.field(offset!(socket_file))
    }

    /// The number of its inode, which lies behind it (`struct socket_alloc`).
    #[inline(always)]
    pub(crate) fn inode_number(self) -> u64 {
        self.field(offset!(socket_inode) + offset!(inode_ino))
    }
}

kernel_object! {
    /// `struct sock`.
    Sock
}

impl Sock {
    /// None once nobody holds it open (`sock_orphan()`).
    #[inline(always)]
    pub(crate) fn socket(self) -> Socket {
        self.field(offset!(sock_socket))
    }

    /// `AF_…`.
    #[inline(always)]
    pub(crate) fn family(self) -> u16 {
        self.field(offset!(sock_family))
    }

    /// `TCP_…` (include/net/tcp_states.h).
    #[inline(always)]
    pub(crate) fn state(self) -> u8 {
        self.field(offset!(sock_state))
    }

    /// The error that waits to be taken, errno(3).
    #[inline(always)]
    pub(crate) fn error(self) -> u32 {
        self.field(offset!(sock_err))
    }

    /// The IPv4 address of this side, or of the other; in network order.
    #[inline(always)]
    pub(crate) fn inet(self, peer: bool) -> u32 {
        self.field(if peer {
            offset!(sock_daddr)
        } else {
            offset!(sock_saddr)
        })
    }

    /// Address of the sixteen bytes of an IPv6 address.
    #[inline(always)]
    pub(crate) fn inet6_address(self, peer: bool) -> u64 {
        let field = if peer {
            offset!(sock_daddr6)
        } else {
            offset!(sock_saddr6)
        };
        self.0 + field as u64
    }

    /// The port of this side, or of the other.
    #[inline(always)]
    pub(crate) fn port(self, peer: bool) -> u16 {
        if peer {
            u16::from_be(self.field(offset!(sock_dport)))
        } else {
            self.field(offset!(sock_sport))
        }
    }

    /// The other end of a connected pair (`unix_sock.peer`).
    #[inline(always)]
    pub(crate) fn unix_peer(self) -> Self {
        self.field(offset!(unix_peer))
    }

    /// Address of its name (`struct unix_address`), 0 for none.
    #[inline(always)]
    pub(crate) fn unix_name(self) -> u64 {
        self.field(offset!(unix_addr))
    }
}
