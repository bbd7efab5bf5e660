//! Sockets: `struct socket`, the file's side, and `struct sock`, the network's side.
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
    /// The socket of a file of that kind.
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

    /// Number of its inode, which follows it in `struct socket_alloc`.
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
    /// None after the last close (`sock_orphan()`).
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

    /// The pending error, errno(3).
    #[inline(always)]
    pub(crate) fn error(self) -> u32 {
        self.field(offset!(sock_err))
    }

    /// IPv4 address of this side or of the peer, in network order.
    #[inline(always)]
    pub(crate) fn inet(self, peer: bool) -> u32 {
        self.field(if peer {
            offset!(sock_daddr)
        } else {
            offset!(sock_saddr)
        })
    }

    /// Address of the 16 bytes of an IPv6 address.
    #[inline(always)]
    pub(crate) fn inet6_address(self, peer: bool) -> u64 {
        let field = if peer {
            offset!(sock_daddr6)
        } else {
            offset!(sock_saddr6)
        };
        self.0 + field as u64
    }

    /// Port of this side or of the peer, in host order.
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

    /// Address of the name (`struct unix_address`), 0 for none.
    #[inline(always)]
    pub(crate) fn unix_name(self) -> u64 {
        self.field(offset!(unix_addr))
    }
}
