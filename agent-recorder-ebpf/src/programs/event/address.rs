//! Addresses of sockets: from a call's arguments, from the kernel's socket, and in an event.
//!
//! Not here: the copies that security hooks make (`session::sockaddr_snapshot`).

use core::ffi::c_void;
use core::ptr;

use agent_recorder_abi::address::{ADDRESS_INET_BYTES, ADDRESS_UNIX_BYTES, Address};
use agent_recorder_abi::limits::SOCKADDR_BYTES;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

use crate::context::call::global;
use crate::context::scratch::PEER;
use crate::event::writer::Writer;
use crate::kernel::read::{bound, offset, read};
use crate::kernel::types::Sock;

pub(crate) const AF_UNIX: u16 = 1;
pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;
pub(crate) const SOCK_STREAM: u16 = 1;
pub(crate) const SOCK_DGRAM: u16 = 2;

/// Families that are recorded: netlink, packet and vsock sockets carry no act of an agent on a
/// file, host or service.
#[inline(always)]
pub(crate) fn is_recorded(family: u16) -> bool {
    family == AF_INET || family == AF_INET6 || family == AF_UNIX
}

#[inline(always)]
pub(crate) fn clear(out: *mut Address) {
    // SAFETY: `out` is an address in the scratch area.
    unsafe { *out = Address::NONE };
}

global! {
    /// Reads a socket address from the caller's memory.
    pub(crate) fn user_address(call: &Call, peer: u32, address: u64, length: u64) {
        let out = call.side(peer);
        // SAFETY: `out` is an address in the scratch area.
        fill(unsafe { &mut *out }, address, length, |to, length, from| {
            // SAFETY: `fill` passes a destination of at least `length` bytes.
            unsafe { bpf_probe_read_user(to, length, from) };
        });
    }
}

/// Copies a `struct sockaddr` of `length` bytes. Each destination has room for what `copy` is told.
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
    /// Reads this side's address, or the peer's, from the kernel's socket.
    pub(crate) fn kernel_address(call: &Call, side: u32) {
        let out = call.side(side);
        clear(out);
        // SAFETY: `out` is an address in the scratch area.
        let out = unsafe { &mut *out };
        let (open, peer) = (call.open(), side == PEER);
        let sock = Sock::at(open.key.sock);
        match open.family {
            AF_INET => {
                let word = sock.inet(peer);
                // SAFETY: `bytes` has SOCKADDR_BYTES, and 4 are written.
                unsafe { ptr::write_unaligned(out.bytes.as_mut_ptr().cast(), word) };
                out.len = 4;
            }
            AF_INET6 => {
                // SAFETY: `bytes` has SOCKADDR_BYTES, and 16 are written.
                unsafe {
                    bpf_probe_read_kernel(
                        out.bytes.as_mut_ptr().cast(),
                        16,
                        sock.inet6_address(peer) as *const _,
                    );
                }
                out.len = 16;
            }
            AF_UNIX => return unix_address(sock, peer, out),
            _ => return,
        }
        out.port = sock.port(peer);
        if !peer || out.port != 0 {
            out.family = open.family;
        }
    }
}

#[inline(always)]
fn unix_address(sock: Sock, peer: bool, out: &mut Address) {
    const MASK: u64 = 127;
    let sock = if peer { sock.unix_peer() } else { sock };
    let address = if sock.is_none() { 0 } else { sock.unix_name() };
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

/// Appends an address in the length of its family, and returns that length.
///
/// # Safety
///
/// `address` points to an [`Address`].
#[inline(always)]
pub(crate) unsafe fn append_address(writer: &mut Writer, address: *const Address) -> u16 {
    // SAFETY: the caller's pointer is valid; the longest family has the 15 words of an `Address`.
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
