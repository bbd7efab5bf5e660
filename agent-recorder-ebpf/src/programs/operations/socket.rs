//! Socket operations: connect with its outcome, accept, bind, listen, and byte counts.
//!
//! Not here: what is remembered of a socket (`socket_table`), its addresses
//! (`event::address`), and datagrams (`datagram`).

use core::ptr;

use agent_recorder_abi::event::{
    Kind, NetBody, NetOp, SOCKET_CONNECTED, SOCKET_FRESH, SOCKET_PENDING, VIA_SYSCALL,
};
use agent_recorder_abi::state::SocketKey;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;

use crate::context::areas::with_area;
use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::scratch::{LOCAL, OpenSocket, PEER, Scratch};
use crate::event::address::{self, AF_UNIX, SOCK_DGRAM, SOCK_STREAM};
use crate::event::writer::Writer;
use crate::kernel::compat::{claim, current};
use crate::kernel::counters::add;
use crate::kernel::replica::{Event, Replica, is_ours};
use crate::kernel::types::{Fd, Sock};
use crate::operations::socket_table;
use crate::session::{sockaddr_snapshot, tag};

pub(crate) const DNS_PORT: u16 = 53;
const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_SENT: i32 = 2;
const EINPROGRESS: i64 = 115;
const EAGAIN: i64 = 11;
const EALREADY: i64 = 114;
const EISCONN: i64 = 106;
/// A blocking connect that a signal interrupted continues in the kernel (connect(2), EINTR).
const ERESTARTSYS: i64 = 512;

global! {
    /// Emits one event of the running task, with the addresses and the socket in the area.
    pub(crate) fn emit_act(call: &Call, op: u32, error: u32) {
        let open = call.open();
        let mut writer = Writer::begin::<NetBody>(call.scratch);
        // SAFETY: `local` and `peer` are addresses in the area; `begin` left room for the body.
        unsafe {
            let local_len = address::append_address(&mut writer, call.local());
            let peer_len = address::append_address(&mut writer, call.peer());
            *writer.body::<NetBody>() = NetBody {
                op: op as u8,
                via: call.via,
                family: open.family,
                socket_kind: open.kind,
                spare: 0,
                error,
                local_len,
                peer_len,
                sent: 0,
                received: 0,
            };
        }
        socket_table::submit(writer, call.tag);
    }
}

/// The socket of `fd`, if its family is recorded; the call is about it from now on.
#[inline(always)]
pub(crate) fn socket_of(call: &Call, fd: Fd) -> Option<OpenSocket> {
    let open = socket_table::of_file(fd.file(call.task))?;
    if !address::is_recorded(open.family) {
        return None;
    }
    call.is_about(open);
    Some(open)
}

global! {
    /// connect(2).
    pub(crate) fn connected(call: &Call) {
        let fd = call.fd_argument(0);
        let Some(open) = socket_of(call, fd) else {
            return;
        };
        sockaddr_snapshot::address(
            call,
            PEER,
            NetOp::Connect,
            0,
            call.argument(1),
            call.argument(2),
        );
        outcome(call, fd, &open);
    }
}

/// Emits a connect now, or leaves it until its outcome is known.
#[inline(always)]
pub(crate) fn outcome(call: &Call, fd: Fd, open: &OpenSocket) {
    address::kernel_address(call, LOCAL);
    let mut error = call.error();
    let begun = call.result == -EINPROGRESS || call.result == -ERESTARTSYS;
    // The call asks again about an earlier connect.
    if call.result == -EALREADY
        || (call.result == -EISCONN && open.kind == SOCK_STREAM)
        || (call.result == 0 && is_emitted(call, open))
    {
        return;
    }
    if begun {
        // Over loopback the answer is often there before the call returns.
        let sock = Sock::at(open.key.sock);
        let state = sock.state();
        if i32::from(state) == TCP_SYN_SENT {
            socket_table::remember(call, fd, SOCKET_PENDING);
            let state = sock.state();
            if i32::from(state) == TCP_SYN_SENT {
                return;
            }
            let before = take_flags(open.key);
            if before & SOCKET_PENDING == 0 {
                return;
            }
            error = outcome_of(sock, sock.state());
            forget_if_fresh(open.key, before, error);
        } else {
            error = outcome_of(sock, state);
        }
    }
    if error == 0 {
        socket_table::remember(call, fd, SOCKET_CONNECTED);
        // SAFETY: `call.peer()` is in the area, a map value.
        if unsafe { (*call.peer()).port } == DNS_PORT && open.kind == SOCK_DGRAM {
            if let Some(session) = tag::session(call.tag) {
                // SAFETY: `session` is a map value, checked not null.
                unsafe { ptr::write_volatile(&raw mut (*session).resolver, 1) };
            }
        }
    }
    emit_act(call, NetOp::Connect as u32, error);
}

/// Whether a stream's connect was emitted. One to AF_UNSPEC dissolves it (connect(2)).
#[inline(always)]
fn is_emitted(call: &Call, open: &OpenSocket) -> bool {
    // SAFETY: `call.peer()` is in the area, a map value.
    if open.kind != SOCK_STREAM || unsafe { (*call.peer()).family } == 0 {
        return false;
    }
    // SAFETY: `known` is a map value, checked not null.
    maps::SOCKETS
        .get_ptr(&open.key)
        .is_some_and(|known| unsafe {
            core::ptr::read_volatile(&raw const (*known).flags) & SOCKET_CONNECTED != 0
        })
}

/// The outcome of a socket that left SYN_SENT: established, or an error. A
/// socket without an error was closed by its owner before an answer came.
#[inline(always)]
fn outcome_of(sock: Sock, state: u8) -> u32 {
    if state == TCP_ESTABLISHED {
        return 0;
    }
    let error = sock.error();
    if error == 0 {
        EINPROGRESS as u32
    } else {
        error
    }
}

/// Takes the flags of a pending connect. The first caller receives them and emits the outcome.
#[inline(always)]
fn take_flags(key: SocketKey) -> u32 {
    let Some(known) = maps::SOCKETS.get_ptr_mut(&key) else {
        return 0;
    };
    // SAFETY: `known` is a map value, checked not null.
    claim(&key, unsafe { &raw mut (*known).flags })
}

/// The hook runs under the socket's lock: a connect(2) that asks again comes after it.
#[inline(always)]
fn mark_connected(key: SocketKey) {
    if let Some(known) = maps::SOCKETS.get_ptr_mut(&key) {
        // SAFETY: `known` is a map value, checked not null.
        unsafe { ptr::write_volatile(&raw mut (*known).flags, SOCKET_CONNECTED) };
    }
}

/// A failed connect leaves a new socket as unused as one that fails at once.
#[inline(always)]
fn forget_if_fresh(key: SocketKey, flags: u32, error: u32) {
    if error != 0 && flags & SOCKET_FRESH != 0 {
        let _ = maps::SOCKETS.remove(&key);
    }
}

/// A TCP socket changed its state, often in softirq: the running task need not be its owner's.
#[inline(always)]
pub(crate) fn state_changed(sock: Sock, from: i32, to: i32) {
    if from != TCP_SYN_SENT {
        return;
    }
    let key = socket_table::key_of(sock);
    let flags = take_flags(key);
    if flags & SOCKET_PENDING == 0 {
        return;
    }
    let error = outcome_of(sock, to as u8);
    with_area!(|scratch| emit_for_owner(scratch, key, error));
    if error == 0 {
        mark_connected(key);
    } else {
        forget_if_fresh(key, flags, error);
    }
}

#[inline(always)]
fn emit_for_owner(scratch: *mut Scratch, key: SocketKey, error: u32) {
    let Some(known) = maps::SOCKETS.get_ptr(&key) else {
        return;
    };
    let mut writer = Writer::begin::<NetBody>(scratch);
    // SAFETY: `known` is a map value, checked not null; `begin` left room for header and body.
    unsafe {
        let local_len = address::append_address(&mut writer, &raw const (*known).local);
        let peer_len = address::append_address(&mut writer, &raw const (*known).peer);
        *writer.body::<NetBody>() = NetBody {
            op: NetOp::Connect as u8,
            via: VIA_SYSCALL,
            family: (*known).family,
            socket_kind: (*known).kind,
            spare: 0,
            error,
            local_len,
            peer_len,
            sent: 0,
            received: 0,
        };
        let header = writer.header_ptr();
        (*header).time = bpf_ktime_get_boot_ns();
        (*header).session = (*known).session;
        (*header).start_time = (*known).start_time;
        (*header).pid = (*known).pid;
        (*header).tid = (*known).tid;
        (*header).ppid = (*known).ppid;
        (*header).uid = (*known).uid;
        (*header).loginuid = u32::MAX;
        (*header).kind = Kind::Network as u16;
        (*header).spare = 0;
        (*header).cgroup = 0;
        (*header).comm = (*known).comm;
    }
    writer.submit(Kind::Network, false);
}

global! {
    /// accept(2), accept4(2): the result is the connection's descriptor.
    pub(crate) fn accepted(call: &Call) {
        // No connection was waiting: no act.
        if call.result == -EAGAIN {
            return;
        }
        let fd = if call.result < 0 {
            call.fd_argument(0)
        } else {
            Fd::of(call.result as u64)
        };
        if socket_of(call, fd).is_none() {
            return;
        }
        address::kernel_address(call, LOCAL);
        address::clear(call.peer());
        if call.result >= 0 {
            address::kernel_address(call, PEER);
            socket_table::remember(call, fd, 0);
        }
        emit_act(call, NetOp::Accept as u32, call.error());
    }
}

global! {
    /// bind(2).
    pub(crate) fn bound_to(call: &Call) {
        let fd = call.fd_argument(0);
        let Some(open) = socket_of(call, fd) else {
            return;
        };
        if call.result >= 0 && open.family != AF_UNIX {
            address::kernel_address(call, LOCAL);
        } else {
            sockaddr_snapshot::address(
                call,
                LOCAL,
                NetOp::Bind,
                0,
                call.argument(1),
                call.argument(2),
            );
        }
        announce(call, fd, NetOp::Bind);
    }
}

global! {
    /// listen(2).
    pub(crate) fn listening(call: &Call) {
        let fd = call.fd_argument(0);
        if socket_of(call, fd).is_none() {
            return;
        }
        address::kernel_address(call, LOCAL);
        announce(call, fd, NetOp::Listen);
    }
}

/// Emits an act that has only this side's address.
#[inline(always)]
pub(crate) fn announce(call: &Call, fd: Fd, op: NetOp) {
    address::clear(call.peer());
    if call.result >= 0 {
        socket_table::remember(call, fd, 0);
    }
    emit_act(call, op as u32, call.error());
}

/// Counts the bytes that sendmsg took.
#[inline(always)]
pub(crate) fn sent(replica: Replica, sock: Sock, length: i32) {
    if let Some(known) = counted(replica, Event::Sent, sock, length) {
        // SAFETY: `known` is a map value, checked not null.
        add(unsafe { &raw mut (*known).sent }, length as u64);
    }
}

/// Counts the bytes that recvmsg gave.
#[inline(always)]
pub(crate) fn received(replica: Replica, sock: Sock, length: i32) {
    if let Some(known) = counted(replica, Event::Received, sock, length) {
        // SAFETY: `known` is a map value, checked not null.
        add(unsafe { &raw mut (*known).received }, length as u64);
    }
}

#[inline(always)]
fn counted(
    replica: Replica,
    event: Event,
    sock: Sock,
    length: i32,
) -> Option<*mut agent_recorder_abi::state::Socket> {
    if length <= 0 {
        return None;
    }
    let task = current();
    tag::tag_of(task)?;
    if !is_ours(replica, task, event) {
        return None;
    }
    maps::SOCKETS.get_ptr_mut(&socket_table::key_of(sock))
}
