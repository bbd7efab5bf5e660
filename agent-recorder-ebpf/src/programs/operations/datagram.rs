//! Records datagrams: to whom, once a peer, and the questions to name servers.
//! Counts what calls sent where no tracepoint does (before 6.3).
//! Not here: other acts on sockets (`socket`).

use agent_recorder_abi::address::Address;
use agent_recorder_abi::event::{DnsBody, Kind, NetOp};
use agent_recorder_abi::limits::{DNS_BYTES, SENDMMSG_MESSAGES};
use agent_recorder_abi::state::SeenPeer;

use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::scratch::{Datagram, LOCAL, PEER};
use crate::event::address::{self, AF_UNIX, SOCK_DGRAM};
use crate::event::writer::Writer;
use crate::kernel::read::{hooks, read_user};
use crate::kernel::types::Fd;
use crate::operations::socket::{self, DNS_PORT};
use crate::operations::socket_table;
use crate::session::{sockaddr_snapshot, tag};

/// sendto(2).
#[inline(always)]
pub(crate) fn to(call: &Call) {
    to_by_socketcall(call, true);
}

/// send(2) has no address: its fifth and sixth arguments mean nothing.
#[inline(always)]
pub(crate) fn to_by_socketcall(call: &Call, addressed: bool) {
    let datagram = Datagram {
        name: if addressed { call.argument(4) } else { 0 },
        name_length: call.argument(5),
        payload: call.argument(1),
        length: call.argument(2),
        sent: call.result as u64,
        nth: 0,
    };
    sent(call, &datagram);
}

/// sendmsg(2).
#[inline(always)]
pub(crate) fn message(call: &Call) {
    let mut datagram = datagram_of(call.argument(1), call.compat);
    datagram.sent = call.result as u64;
    sent(call, &datagram);
}

global! {
    /// sendmmsg(2): the result says how many were sent.
    pub(crate) fn messages(call: &Call) {
        // struct mmsghdr: a struct msghdr and a length.
        let stride = if call.compat { 32 } else { 64 };
        let mut index = 0;
        while index < i64::from(SENDMMSG_MESSAGES) {
            if index >= call.result && index > 0 {
                return;
            }
            let header = call.argument(1) + (index as u64) * stride;
            let mut datagram = datagram_of(header, call.compat);
            datagram.sent = u64::from(read_user::<u32>(
                header + stride - 8 + if call.compat { 4 } else { 0 },
            ));
            datagram.nth = index as u32;
            sent(call, &datagram);
            index += 1;
        }
    }
}

/// Reads a `struct msghdr` (32-bit members for a 32-bit caller) and its first `struct iovec`.
#[inline(always)]
fn datagram_of(header: u64, compat: bool) -> Datagram {
    let (name, vector) = if compat {
        (
            u64::from(read_user::<u32>(header)),
            u64::from(read_user::<u32>(header + 8)),
        )
    } else {
        (read_user(header), read_user(header + 16))
    };
    let name_length = u64::from(read_user::<u32>(header + if compat { 4 } else { 8 }));
    let (payload, length) = first_buffer(vector, compat);
    Datagram {
        name,
        name_length,
        payload,
        length,
        sent: 0,
        nth: 0,
    }
}

#[inline(always)]
fn first_buffer(vector: u64, compat: bool) -> (u64, u64) {
    if compat {
        (
            u64::from(read_user::<u32>(vector)),
            u64::from(read_user::<u32>(vector + 4)),
        )
    } else {
        (read_user(vector), read_user(vector + 8))
    }
}

/// write(2) and its kin: on a connected socket, only a question to a name server is recorded.
#[inline(always)]
pub(crate) fn plain(call: &Call, payload: u8) {
    transferred(call, 0);
    if call.result > 0 && asks_name_servers(call) {
        unaddressed(call, call.argument(payload), call.argument(payload + 1));
    }
}

/// writev(2).
#[inline(always)]
pub(crate) fn vector(call: &Call) {
    transferred(call, 0);
    if call.result > 0 && asks_name_servers(call) {
        let (payload, length) = first_buffer(call.argument(1), call.compat);
        unaddressed(call, payload, length);
    }
}

#[inline(always)]
fn asks_name_servers(call: &Call) -> bool {
    tag::session(call.tag)
        // SAFETY: `session` is a map value, checked not null.
        .is_some_and(
            |session| unsafe { core::ptr::read_volatile(&raw const (*session).resolver) } != 0,
        )
}

#[inline(always)]
fn unaddressed(call: &Call, payload: u64, length: u64) {
    sent(
        call,
        &Datagram {
            name: 0,
            name_length: 0,
            payload,
            length,
            sent: 0,
            nth: 0,
        },
    );
}

/// Counts what a call put into the descriptor that this argument gives.
#[inline(always)]
pub(crate) fn transferred(call: &Call, argument: u8) {
    count(call, call.fd_argument(argument), call.result as u64);
}

/// Adds to what a socket sent, where no tracepoint does (before 6.3).
#[inline(always)]
fn count(call: &Call, fd: Fd, bytes: u64) {
    if hooks().count != 0 {
        count_sent(call, fd, bytes);
    }
}

global! {
    fn count_sent(call: &Call, fd: Fd, bytes: u64) {
        if call.result <= 0 || !socket_table::are_used(call.tag) {
            return;
        }
        if let Some(open) = socket_table::of_file(fd.file(call.task)) {
            socket_table::add_sent(&open.key, bytes);
        }
    }
}

/// Counts and records one datagram, sent or failed.
#[inline(always)]
pub(crate) fn sent(call: &Call, datagram: &Datagram) {
    count(call, call.fd_argument(0), datagram.sent);
    // SAFETY: `call.scratch` is a map value.
    unsafe { (*call.scratch).datagram = *datagram };
    sent_datagram(call);
}

global! {
/// Records the datagram that is in the area.
fn sent_datagram(call: &Call) {
    let fd = call.fd_argument(0);
    let Some(open) = socket::socket_of(call, fd) else {
        return;
    };
    if open.kind != SOCK_DGRAM {
        return;
    }
    // SAFETY: `call.scratch` is a map value.
    let (name, name_length, bytes, nth) = unsafe {
        let datagram = &raw const (*call.scratch).datagram;
        ((*datagram).name, (*datagram).name_length, (*datagram).sent, (*datagram).nth)
    };
    sockaddr_snapshot::address(call, PEER, NetOp::Send, nth, name, name_length);
    // SAFETY: `call.peer()` is in the area, a map value.
    if unsafe { (*call.peer()).family } != 0 {
        emit_peer(call, fd, bytes);
    } else {
        address::kernel_address(call, PEER);
    }
    // SAFETY: `call.peer()` is in the area, a map value.
    if call.result >= 0 && unsafe { (*call.peer()).port } == DNS_PORT && open.family != AF_UNIX {
        emit_question(call);
    }
}
}

/// Emits a destination once a socket, and each failure.
#[inline(always)]
fn emit_peer(call: &Call, fd: Fd, bytes: u64) {
    address::kernel_address(call, LOCAL);
    if call.result >= 0 {
        if was_peer_seen(call) {
            return;
        }
        socket_table::remember_unconnected(call, fd, bytes);
    }
    socket::emit_act(call, NetOp::Send as u32, call.error());
}

global! {
    /// Whether the peer in the area was emitted before; it counts as emitted from
    /// now on. A function of its own: the key would take its caller's stack.
    fn was_peer_seen(call: &Call) -> bool [else false] {
        let key = SeenPeer {
            socket: call.open().key,
            peer: fold(call.peer()),
        };
        // SAFETY: only the key's presence is asked for.
        if unsafe { maps::PEERS.get(&key) }.is_some() {
            return true;
        }
        let _ = maps::PEERS.insert(&key, &1, 0);
        false
    }
}

/// Family, port and length, and the address folded to three words: exact for inet.
#[inline(always)]
fn fold(peer: *const Address) -> [u64; 4] {
    let words = peer.cast::<u64>();
    let mut folded = [0; 4];
    let mut index = 0;
    while index < 15 {
        // SAFETY: `index` is below 15, the words of an `Address`.
        let word = unsafe { core::ptr::read(words.add(index)) };
        folded[if index < 3 { index } else { 3 }] ^= word.rotate_left(index as u32);
        index += 1;
    }
    folded
}

#[inline(always)]
fn emit_question(call: &Call) {
    // SAFETY: `call.scratch` is a map value.
    let (payload, length) = unsafe {
        let datagram = &raw const (*call.scratch).datagram;
        ((*datagram).payload, (*datagram).length)
    };
    let mut writer = Writer::begin::<DnsBody>(call.scratch);
    // SAFETY: `call.peer()` is an address; `begin` left room for the body.
    unsafe {
        let server_len = address::append_address(&mut writer, call.peer());
        let payload_len = writer.user_bytes::<{ DNS_BYTES as u64 - 1 }>(payload, length);
        *writer.body::<DnsBody>() = DnsBody {
            server_len,
            payload_len,
            spare: 0,
        };
    }
    writer.header(Kind::Dns, call.tag);
    writer.submit(Kind::Dns, false);
}
