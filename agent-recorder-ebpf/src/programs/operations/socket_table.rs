//! Sockets of sessions: what is known of each, how many bytes went through,
//! and whether it still lives.
//!
//! Not here: which descriptor is which socket, once it was remembered (`fd_table`).

use agent_recorder_abi::event::{Kind, NetBody, NetOp, SOCKET_FRESH, SOCKET_PENDING};
use agent_recorder_abi::state::{SessionNumber, SocketKey, Tag};
use aya_ebpf::helpers::generated::bpf_get_current_comm;

use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::scratch::{OpenSocket, Scratch, ScratchId};
use crate::event::address;
use crate::event::writer::Writer;
use crate::kernel::compat::{Task, offer, walk};
use crate::kernel::counters::add;
use crate::kernel::read::offset;
use crate::kernel::types::{Fd, File, FileTable, Sock, Socket};
use crate::session::tag;

/// The socket of a file, `None` for any other file.
#[inline(always)]
pub(crate) fn of_file(file: File) -> Option<OpenSocket> {
    if file.is_none() {
        return None;
    }
    let inode = file.inode();
    if !inode.is_socket() {
        return None;
    }
    let socket = Socket::of(file);
    let sock = socket.sock();
    if sock.is_none() {
        return None;
    }
    Some(OpenSocket {
        key: SocketKey {
            sock: sock.address(),
            ino: inode.number(),
        },
        socket,
        family: sock.family(),
        kind: socket.kind(),
    })
}

/// The key of a `struct sock`; its inode number is 0 after its last close.
#[inline(always)]
pub(crate) fn key_of(sock: Sock) -> SocketKey {
    let socket = sock.socket();
    let ino = if socket.is_none() {
        0
    } else {
        socket.inode_number()
    };
    SocketKey {
        sock: sock.address(),
        ino,
    }
}

/// Remembers a socket that was used with success, and its descriptor.
#[inline(always)]
pub(crate) fn remember(call: &Call, fd: Fd, flags: u32) {
    remember_as(call, fd, flags, 1);
}

/// Remembers an unconnected socket, whose first datagram was sent before it was known.
#[inline(always)]
pub(crate) fn remember_unconnected(call: &Call, fd: Fd, sent: u64) {
    let open = call.open();
    if maps::SOCKETS.get_ptr(&open.key).is_some() {
        return;
    }
    remember_as(call, fd, 0, 0);
    if let Some(known) = maps::SOCKETS.get_ptr_mut(&open.key) {
        // SAFETY: `known` is a map value, checked not null.
        crate::kernel::counters::add(unsafe { &raw mut (*known).sent }, sent);
    }
}

global! {
    fn remember_as(call: &Call, fd: Fd, flags: u32, connected: u32) {
        let (open, connected) = (call.open(), connected != 0);
        if flags & SOCKET_PENDING != 0 {
            offer(&open.key);
        }
        if let Some(session) = tag::session(call.tag) {
            // SAFETY: `session` is a map value, checked not null.
            unsafe { core::ptr::write_volatile(&raw mut (*session).sockets, 1) };
        }
        let descriptor = FileTable::of(call.task).descriptor(fd);
        // LRU maps: an insertion fails only without memory; the close is then not recorded.
        let _ = maps::DESCRIPTORS.insert(&descriptor, &open.key, 0);
        if let Some(known) = maps::SOCKETS.get_ptr_mut(&open.key) {
            // SAFETY: `known` is a map value, checked not null.
            unsafe {
                (*known).local = *call.local();
                if connected && (*call.peer()).family != 0 {
                    (*known).peer = *call.peer();
                }
                (*known).flags = flags;
            }
            return;
        }
        let fresh = if flags & SOCKET_PENDING != 0 {
            SOCKET_FRESH
        } else {
            0
        };
        insert(call, &open, flags | fresh, connected);
    }
}

#[inline(always)]
fn insert(call: &Call, open: &OpenSocket, flags: u32, connected: bool) {
    // SAFETY: `task` is typed; the value is put together in the scratch area.
    unsafe {
        let leader: Task = walk(call.task, offset!(task_leader));
        let parent: Task = walk(call.task, offset!(task_parent));
        let socket = &raw mut (*call.scratch).socket;
        (*socket).session = call.tag.session;
        (*socket).sent = 0;
        (*socket).received = 0;
        (*socket).socket = open.socket.address();
        (*socket).pid = walk(call.task, offset!(task_tgid));
        (*socket).tid = walk(call.task, offset!(task_pid));
        (*socket).start_time = walk(leader, offset!(task_start));
        (*socket).ppid = walk(parent, offset!(task_tgid));
        (*socket).uid = aya_ebpf::helpers::bpf_get_current_uid_gid() as u32;
        (*socket).flags = flags;
        (*socket).family = open.family;
        (*socket).kind = open.kind;
        (*socket).local = *call.local();
        (*socket).peer = *call.peer();
        if !connected {
            // Cleared after the copy: a choice between two addresses would take the stack of both.
            address::clear(&raw mut (*socket).peer);
        }
        bpf_get_current_comm((&raw mut (*socket).comm).cast(), 16);
        let _ = maps::SOCKETS.insert(&open.key, &*socket, 0);
    }
}

/// Whether the session has used a socket.
#[inline(always)]
pub(crate) fn are_used(tag: Tag) -> bool {
    tag::session(tag)
        // SAFETY: `session` is a map value, checked not null.
        .is_some_and(
            |session| unsafe { core::ptr::read_volatile(&raw const (*session).sockets) } != 0,
        )
}

/// Whether the `struct sock` is still the socket that the key names.
///
/// A socket whose last descriptor is closed is released at once or, by `fput()`,
/// just before the return to user space; until then its file has no references. A
/// released socket is orphaned (`sock_orphan()`), and reused memory has another
/// inode. So a read of freed memory is harmless, and never shows a live socket.
#[inline(always)]
pub(crate) fn is_alive(key: SocketKey) -> bool {
    let Some(known) = maps::SOCKETS.get_ptr(&key) else {
        return true;
    };
    // SAFETY: `known` is a map value, checked not null.
    let socket = Socket::at(unsafe { (*known).socket });
    let sock = Sock::at(key.sock);
    sock.socket() == socket
        && socket.sock() == sock
        && socket.inode_number() == key.ino
        && socket.file().has_references()
}

/// Whether the end of a socket was recorded, or the LRU has dropped the socket.
#[inline(always)]
pub(crate) fn is_end_emitted(key: SocketKey) -> bool {
    maps::SOCKETS.get_ptr(&key).is_none()
}

/// Emits the end of a known socket, once.
#[inline(always)]
pub(crate) fn emit_closed(scratch: *mut Scratch, tag: Tag, key: &SocketKey, via: u8) {
    let (area, sock) = (ScratchId::of(scratch), Sock::at(key.sock));
    emit_end(area, sock, key.ino, tag.session, u32::from(via));
}

global! {
    fn emit_end(area: ScratchId as scratch, sock: Sock, ino: u64, session: SessionNumber, via: u32) {
        let key = SocketKey { sock: sock.address(), ino };
        let Some(known) = maps::SOCKETS.get_ptr(&key) else {
            return;
        };
        let mut writer = Writer::begin::<NetBody>(scratch);
        // SAFETY: `known` is a map value, checked not null; `begin` left room for the body.
        unsafe {
            let local_len = address::append_address(&mut writer, &raw const (*known).local);
            let peer_len = address::append_address(&mut writer, &raw const (*known).peer);
            *writer.body::<NetBody>() = NetBody {
                op: NetOp::Close as u8,
                via: via as u8,
                family: (*known).family,
                socket_kind: (*known).kind,
                spare: 0,
                error: 0,
                local_len,
                peer_len,
                sent: (*known).sent,
                received: (*known).received,
            };
        }
        let _ = maps::SOCKETS.remove(&key);
        submit(writer, Tag::new(session, 0));
    }
}

/// Sends a finished event.
#[inline(always)]
pub(crate) fn submit(writer: Writer, tag: Tag) {
    writer.header(Kind::Network, tag);
    writer.submit(Kind::Network, false);
}

/// Adds to what a socket sent, by the result of a call.
#[inline(always)]
pub(crate) fn add_sent(key: &SocketKey, bytes: u64) {
    if let Some(known) = maps::SOCKETS.get_ptr_mut(key) {
        // SAFETY: `known` is a map value, checked not null.
        add(unsafe { &raw mut (*known).sent }, bytes);
    }
}
