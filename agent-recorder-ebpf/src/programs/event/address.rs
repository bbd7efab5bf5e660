//! Addresses of sockets: as a call gives them, as the kernel has them, as an event holds them.
//!
//! Not here: the copy that a security hook made of one (`session::sockaddr_snapshot`).

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

/// Only these are recorded: netlink, packet and vsock sockets carry no act of an agent on a file, host or service.
#[inline(always)]
pub(crate) fn is_recorded(family: u16) -> bool {
    family == AF_INET || family == AF_INET6 || family == AF_UNIX
}

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
        let sock = Sock::at(open.key.sock);
        match open.family {
            AF_INET => {
                let word = sock.inet(peer);
                // SAFETY: 4 of SOCKADDR_BYTES.
                unsafe { ptr::write_unaligned(out.bytes.as_mut_ptr().cast(), word) };
                out.len = 4;
            }
            AF_INET6 => {
                // SAFETY: 16 of SOCKADDR_BYTES.
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
