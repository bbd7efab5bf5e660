//! Socket operations: connect with its outcome, accept, bind, listen, and byte counts.

use core::ffi::c_void;
use core::ptr;

use agent_recorder_abi::address::{ADDRESS_INET_BYTES, ADDRESS_UNIX_BYTES, Address};
use agent_recorder_abi::event::{
    Kind, NetBody, NetOp, SOCKET_CONNECTED, SOCKET_FRESH, SOCKET_PENDING, VIA_SYSCALL,
};
use agent_recorder_abi::limits::SOCKADDR_BYTES;
use agent_recorder_abi::state::{SocketKey, Tag};
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_boot_ns, bpf_probe_read_kernel, bpf_probe_read_user,
};

use crate::context::call::{Call, global};
use crate::context::maps;
use crate::event::writer::{Scratch, Writer, add, with_area};
use crate::guard::budget;
use crate::kernel::compat::claim;
use crate::kernel::read::{bound, current, file_of, offset, read};
use crate::kernel::replica::{Event, Replica, is_ours};
use crate::operations::socket_table::{self, Open};
use crate::session::sockaddr_snapshot;
use crate::session::tag;

pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
pub(crate) const SOCK_STREAM: u16 = 1;
pub(crate) const SOCK_DGRAM: u16 = 2;
pub(crate) const DNS_PORT: u16 = 53;
const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_SENT: i32 = 2;
const EINPROGRESS: i64 = 115;
const EAGAIN: i64 = 11;
const EALREADY: i64 = 114;
const EISCONN: i64 = 106;
/// A blocking connect that a signal interrupted goes on by itself (connect(2), EINTR).
const ERESTARTSYS: i64 = 512;

/// Only these are recorded: netlink, packet and vsock sockets carry no act of an agent on a file, host or service.
#[inline(always)]
pub(crate) fn is_recorded(family: u16) -> bool {
    family == AF_INET || family == AF_INET6 || family == AF_UNIX
}

/// The two sides whose addresses an area has room for.
pub(crate) const LOCAL: u32 = 0;
/// The other side.
pub(crate) const PEER: u32 = 1;

/// Makes an address none.
#[inline(always)]
pub(crate) fn clear(out: *mut Address) {
    // SAFETY: room that `Call` gives.
    unsafe { *out = Address::NONE };
}

global! {
    /// A socket address in the caller's memory.
    pub(crate) fn user_address(call: &Call, peer: u32, address: u64, length: u64) {
        let out = call.side(peer);
        // SAFETY: room that `Call` gives.
        fill(unsafe { &mut *out }, address, length, |to, length, from| {
            // SAFETY: as `fill` promises.
            unsafe { bpf_probe_read_user(to, length, from) };
        });
    }
}

/// Copies a `struct sockaddr` of this many bytes. `copy` is asked for as much as there is room for.
#[inline(always)]
pub(crate) fn fill(
    out: &mut Address,
    address: u64,
    length: u64,
    copy: impl Fn(*mut c_void, u32, *const c_void),
) {
    *out = Address::NONE;
    if address == 0 || length < 2 {
        return;
    }
    let word = |at: u64| {
        let mut word = 0_u16;
        copy((&raw mut word).cast(), 2, (address + at) as *const _);
        word
    };
    let family = word(0);
    match family {
        AF_INET => {
            out.len = 4;
            out.port = u16::from_be(word(2));
            copy(out.bytes.as_mut_ptr().cast(), 4, (address + 4) as *const _);
        }
        AF_INET6 => {
            out.len = 16;
            out.port = u16::from_be(word(2));
            copy(out.bytes.as_mut_ptr().cast(), 16, (address + 8) as *const _);
        }
        AF_UNIX => {
            const MASK: u64 = 127;
            let length = bound::<MASK>(
                if length > SOCKADDR_BYTES as u64 {
                    SOCKADDR_BYTES as u64
                } else {
                    length
                } - 2,
            );
            if length <= (SOCKADDR_BYTES - 2) as u64 {
                out.len = length as u16;
                copy(
                    out.bytes.as_mut_ptr().cast(),
                    length as u32,
                    (address + 2) as *const _,
                );
            }
        }
        _ => return,
    }
    out.family = family;
}

global! {
    /// The address that the kernel's socket has on this side, or on the other.
    pub(crate) fn kernel_address(call: &Call, side: u32) {
        let out = call.side(side);
        clear(out);
        // SAFETY: room that `Call` gives.
        let out = unsafe { &mut *out };
        let (open, peer) = (call.open(), side == PEER);
        let sock = open.key.sock;
        match open.family {
            AF_INET => {
                let word: u32 = read(
                    sock,
                    if peer {
                        offset!(sock_daddr)
                    } else {
                        offset!(sock_saddr)
                    },
                );
                // SAFETY: 4 of SOCKADDR_BYTES.
                unsafe { ptr::write_unaligned(out.bytes.as_mut_ptr().cast(), word) };
                out.len = 4;
            }
            AF_INET6 => {
                let field = if peer {
                    offset!(sock_daddr6)
                } else {
                    offset!(sock_saddr6)
                };
                // SAFETY: 16 of SOCKADDR_BYTES.
                unsafe {
                    bpf_probe_read_kernel(
                        out.bytes.as_mut_ptr().cast(),
                        16,
                        (sock + field as u64) as *const _,
                    );
                }
                out.len = 16;
            }
            AF_UNIX => return unix_address(sock, peer, out),
            _ => return,
        }
        out.port = if peer {
            u16::from_be(read(sock, offset!(sock_dport)))
        } else {
            read(sock, offset!(sock_sport))
        };
        if !peer || out.port != 0 {
            out.family = open.family;
        }
    }
}

#[inline(always)]
fn unix_address(sock: u64, peer: bool, out: &mut Address) {
    const MASK: u64 = 127;
    let sock = if peer {
        read(sock, offset!(unix_peer))
    } else {
        sock
    };
    let address: u64 = if sock == 0 {
        0
    } else {
        read(sock, offset!(unix_addr))
    };
    if address == 0 {
        return;
    }
    out.family = AF_UNIX;
    let length = u64::from(read::<u32>(address, offset!(unix_addr_len)));
    let length = bound::<MASK>(length.wrapping_sub(2));
    if length <= (SOCKADDR_BYTES - 2) as u64 {
        out.len = length as u16;
        // SAFETY: `length` is below SOCKADDR_BYTES.
        unsafe {
            bpf_probe_read_kernel(
                out.bytes.as_mut_ptr().cast(),
                length as u32,
                (address + offset!(unix_addr_name) as u64 + 2) as *const _,
            );
        }
    }
}

/// Appends as much of an address as its family has; the length of that.
///
/// # Safety
///
/// `address` points to an [`Address`].
#[inline(always)]
pub(crate) unsafe fn append_address(writer: &mut Writer, address: *const Address) -> u16 {
    // SAFETY: as promised; an Address is 15 words.
    match unsafe { (*address).family } {
        0 => 0,
        AF_UNIX => {
            writer.words::<{ ADDRESS_UNIX_BYTES / 8 }>(address.cast());
            ADDRESS_UNIX_BYTES as u16
        }
        _ => {
            writer.words::<{ ADDRESS_INET_BYTES / 8 }>(address.cast());
            ADDRESS_INET_BYTES as u16
        }
    }
}

global! {
    /// One event of the running task, with the addresses and the socket that are in the area.
    pub(crate) fn emit_act(call: &Call, op: u32, error: u32) {
        let open = call.open();
        let mut writer = Writer::begin::<NetBody>(call.scratch);
        // SAFETY: both are addresses; `begin` left room for the body.
        unsafe {
            let local_len = append_address(&mut writer, call.local());
            let peer_len = append_address(&mut writer, call.peer());
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
        submit(writer, call.tag);
    }
}

/// Sends a finished event.
#[inline(always)]
pub(crate) fn submit(writer: Writer, tag: Tag) {
    writer.header(Kind::Network, tag);
    writer.submit(Kind::Network, false);
}

/// The socket of the call's first argument, if it is of a family that is recorded.
#[inline(always)]
pub(crate) fn socket_of(call: &Call, fd: u64) -> Option<Open> {
    let open = socket_table::of_file(file_of(call.task, u64::from(fd as u32)))?;
    if !is_recorded(open.family) {
        return None;
    }
    call.is_about(open);
    Some(open)
}

global! {
    /// connect(2).
    pub(crate) fn connected(call: &Call) {
        let fd = call.argument(0);
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

/// Tells of a connect now, or when its outcome is known.
#[inline(always)]
pub(crate) fn outcome(call: &Call, fd: u64, open: &Open) {
    kernel_address(call, LOCAL);
    let mut error = call.error();
    let begun = call.result == -EINPROGRESS || call.result == -ERESTARTSYS;
    // Asked again about the one that was told of.
    if call.result == -EALREADY
        || (call.result == -EISCONN && open.kind == SOCK_STREAM)
        || (call.result == 0 && is_told(call, open))
    {
        return;
    }
    if begun {
        // Over loopback the answer is often there before the call returns.
        let state: u8 = read(open.key.sock, offset!(sock_state));
        if i32::from(state) == TCP_SYN_SENT {
            socket_table::remember(call, fd, SOCKET_PENDING);
            let state: u8 = read(open.key.sock, offset!(sock_state));
            if i32::from(state) == TCP_SYN_SENT {
                return;
            }
            let before = take_flags(open.key);
            if before & SOCKET_PENDING == 0 {
                return;
            }
            error = outcome_of(open.key.sock, read(open.key.sock, offset!(sock_state)));
            forget_if_fresh(open.key, before, error);
        } else {
            error = outcome_of(open.key.sock, state);
        }
    }
    if error == 0 {
        socket_table::remember(call, fd, SOCKET_CONNECTED);
        // SAFETY: room that `Call` gives.
        if unsafe { (*call.peer()).port } == DNS_PORT && open.kind == SOCK_DGRAM {
            if let Some(session) = budget::session(call.tag) {
                // SAFETY: a map value, checked not null.
                unsafe { ptr::write_volatile(&raw mut (*session).resolver, 1) };
            }
        }
    }
    emit_act(call, NetOp::Connect as u32, error);
}

/// Whether a stream's connect was told of. One with AF_UNSPEC undoes it (connect(2)).
#[inline(always)]
fn is_told(call: &Call, open: &Open) -> bool {
    // SAFETY: room that `Call` gives.
    if open.kind != SOCK_STREAM || unsafe { (*call.peer()).family } == 0 {
        return false;
    }
    // SAFETY: a map value, checked not null.
    maps::SOCKETS
        .get_ptr(&open.key)
        .is_some_and(|known| unsafe {
            core::ptr::read_volatile(&raw const (*known).flags) & SOCKET_CONNECTED != 0
        })
}

/// A socket that left SYN_SENT: established, or with an error. One without an
/// error was closed by its owner before an answer came.
#[inline(always)]
fn outcome_of(sock: u64, state: u8) -> u32 {
    if state == TCP_ESTABLISHED {
        return 0;
    }
    let error: u32 = read(sock, offset!(sock_err));
    if error == 0 {
        EINPROGRESS as u32
    } else {
        error
    }
}

/// What is remembered of a connect under way, and taken by whom asks first: that one tells the outcome.
#[inline(always)]
fn take_flags(key: SocketKey) -> u32 {
    let Some(known) = maps::SOCKETS.get_ptr_mut(&key) else {
        return 0;
    };
    // SAFETY: a map value, checked not null.
    claim(&key, unsafe { &raw mut (*known).flags })
}

/// The hook runs under the socket's lock: a connect(2) that asks again comes after it.
#[inline(always)]
fn mark_connected(key: SocketKey) {
    if let Some(known) = maps::SOCKETS.get_ptr_mut(&key) {
        // SAFETY: a map value, checked not null.
        unsafe { ptr::write_volatile(&raw mut (*known).flags, SOCKET_CONNECTED) };
    }
}

/// A connect that failed leaves the socket as unused as one that failed at once.
#[inline(always)]
fn forget_if_fresh(key: SocketKey, flags: u32, error: u32) {
    if error != 0 && flags & SOCKET_FRESH != 0 {
        let _ = maps::SOCKETS.remove(&key);
    }
}

/// A TCP socket changed its state, often in softirq: the running task has nothing to do with it.
#[inline(always)]
pub(crate) fn state_changed(sock: u64, from: i32, to: i32) {
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
    // SAFETY: a map value, checked not null; `begin` left room for header and body.
    unsafe {
        let local_len = append_address(&mut writer, &raw const (*known).local);
        let peer_len = append_address(&mut writer, &raw const (*known).peer);
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
        // Nothing was there to accept: no act.
        if call.result == -EAGAIN {
            return;
        }
        let fd = if call.result < 0 {
            call.argument(0)
        } else {
            call.result as u64
        };
        if socket_of(call, fd).is_none() {
            return;
        }
        kernel_address(call, LOCAL);
        clear(call.peer());
        if call.result >= 0 {
            kernel_address(call, PEER);
            socket_table::remember(call, fd, 0);
        }
        emit_act(call, NetOp::Accept as u32, call.error());
    }
}

global! {
    /// bind(2).
    pub(crate) fn bound_to(call: &Call) {
        let fd = call.argument(0);
        let Some(open) = socket_of(call, fd) else {
            return;
        };
        if call.result >= 0 && open.family != AF_UNIX {
            kernel_address(call, LOCAL);
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
        let fd = call.argument(0);
        if socket_of(call, fd).is_none() {
            return;
        }
        kernel_address(call, LOCAL);
        announce(call, fd, NetOp::Listen);
    }
}

/// An act that has only this side's address.
#[inline(always)]
pub(crate) fn announce(call: &Call, fd: u64, op: NetOp) {
    clear(call.peer());
    if call.result >= 0 {
        socket_table::remember(call, fd, 0);
    }
    emit_act(call, op as u32, call.error());
}

/// Bytes that sendmsg took.
#[inline(always)]
pub(crate) fn sent(replica: Replica, sock: u64, length: i32) {
    if let Some(known) = counted(replica, Event::Sent, sock, length) {
        // SAFETY: a map value, checked not null.
        add(unsafe { &raw mut (*known).sent }, length as u64);
    }
}

/// The same where the call that sent them tells of them.
#[inline(always)]
pub(crate) fn add_sent(key: &SocketKey, bytes: u64) {
    if let Some(known) = maps::SOCKETS.get_ptr_mut(key) {
        // SAFETY: as above.
        add(unsafe { &raw mut (*known).sent }, bytes);
    }
}

/// Bytes that recvmsg gave.
#[inline(always)]
pub(crate) fn received(replica: Replica, sock: u64, length: i32) {
    if let Some(known) = counted(replica, Event::Received, sock, length) {
        // SAFETY: a map value, checked not null.
        add(unsafe { &raw mut (*known).received }, length as u64);
    }
}

#[inline(always)]
fn counted(
    replica: Replica,
    event: Event,
    sock: u64,
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
