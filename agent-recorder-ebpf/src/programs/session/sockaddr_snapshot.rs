//! The kernel's copies of addresses in calls: another thread can change the caller's memory, but
//! not these.
//!
//! A security hook stores them (`operations::socket_hook`), the exit of the call takes them. A call
//! that fails before the hook has only the caller's memory.

use agent_recorder_abi::event::NetOp;
use agent_recorder_abi::limits::SENDMMSG_MESSAGES;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;

use crate::context::areas::{untyped, with_area};
use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::scratch::{Scratch, ScratchId};
use crate::event::address;
use crate::kernel::read::{bound, hooks};
use crate::kernel::types::{Kiocb, Sock, Socket};
use crate::session::actor::Actor;
use crate::session::tag;

const NTH: u64 = SENDMMSG_MESSAGES as u64 - 1;
const _: () = assert!(SENDMMSG_MESSAGES.is_power_of_two());

#[inline(always)]
pub(crate) fn keep(actor: &Actor, op: NetOp, socket: Socket, address: u64, length: u32) {
    let sock = socket.sock();
    with_area!(|area| {
        let (sock, address) = (untyped(area, sock), untyped(area, address));
        let packed = u64::from(op as u32) << 32 | u64::from(length);
        keep_sockaddrs(ScratchId::of(area), packed, sock, address, actor.request);
    });
    tag::note_sockaddr(actor.task, 1);
}

global! {
    /// `packed` is operation and length: a function has at most five arguments.
    fn keep_sockaddrs(area: ScratchId as scratch, packed: u64, sock: Sock, address: u64, request: Kiocb) {
        // SAFETY: `scratch` is a map value, checked for null.
        let out = unsafe { &mut (*scratch).peer };
        address::fill(out, address, packed & 0xffff_ffff, |to, length, from| {
            // SAFETY: `fill` passes a destination of at least `length` bytes.
            unsafe { bpf_probe_read_kernel(to, length, from) };
        });
        if !request.is_none() {
            if let Some(kept) = maps::URING.get_ptr_mut(&request.address()) {
                // SAFETY: `kept` and `scratch` are map values, checked for null.
                unsafe { (*kept).address = (*scratch).peer };
            }
            return;
        }
        keep_of_thread(scratch, (packed >> 32) as u32, sock);
    }
}

/// Stores the first address of a call, or adds a further one.
#[inline(always)]
fn keep_of_thread(scratch: *mut Scratch, op: u32, sock: Sock) {
    let thread = bpf_get_current_pid_tgid();
    if let Some(snapshot) = maps::SOCKADDRS.get_ptr_mut(&thread) {
        // SAFETY: `given` and `scratch` are map values, checked for null; NTH masks the index.
        unsafe {
            if (*snapshot).op == op
                && (*snapshot).sock == sock.address()
                && op == NetOp::Send as u32
            {
                let count = (*snapshot).count;
                if count < SENDMMSG_MESSAGES {
                    let nth = bound::<NTH>(u64::from(count)) as usize;
                    let room = (&raw mut (*snapshot).addresses)
                        .cast::<agent_recorder_abi::address::Address>()
                        .add(nth);
                    *room = (*scratch).peer;
                    (*snapshot).count = count + 1;
                }
                return;
            }
        }
    }
    // SAFETY: `scratch` is a map value, checked for null.
    unsafe {
        let snapshot = &raw mut (*scratch).sockaddrs;
        (*snapshot).op = op;
        (*snapshot).sock = sock.address();
        (*snapshot).count = 1;
        (*snapshot).addresses[0] = (*scratch).peer;
        // LRU: insertion fails only without memory; the exit then reads the caller's memory.
        let _ = maps::SOCKADDRS.insert(&thread, &*snapshot, 0);
    }
}

/// Removes the addresses of a call at its exit.
#[inline(always)]
pub(crate) fn forget(call: &Call) {
    if hooks().see != 0 && call.tag.copied_sockaddr != 0 {
        forget_sockaddrs(call);
    }
}

global! {
    fn forget_sockaddrs(call: &Call) {
        let _ = maps::SOCKADDRS.remove(bpf_get_current_pid_tgid());
        tag::note_sockaddr(call.task, 0);
    }
}

/// The `nth` address of the call's socket: the kernel's copy where there is one, else the caller's
/// memory.
#[inline(always)]
pub(crate) fn address(call: &Call, side: u32, op: NetOp, nth: u32, address: u64, length: u64) {
    if hooks().see == 0 || call.tag.copied_sockaddr == 0 || !take(call, side, op as u32, nth) {
        address::user_address(call, side, address, length);
    }
}

global! {
    /// Copies the stored address; false where there is none.
    fn take(call: &Call, side: u32, op: u32, nth: u32) -> bool [else false] {
        let Some(snapshot) = maps::SOCKADDRS.get_ptr(&bpf_get_current_pid_tgid()) else {
            return false;
        };
        // SAFETY: `given` and `call.side()` are in map values, checked for null; NTH masks the
        // index.
        unsafe {
            if (*snapshot).op != op || (*snapshot).sock != call.open().key.sock || nth >= (*snapshot).count {
                return false;
            }
            let nth = bound::<NTH>(u64::from(nth)) as usize;
            *call.side(side) = *(&raw const (*snapshot).addresses)
                .cast::<agent_recorder_abi::address::Address>()
                .add(nth);
        }
        true
    }
}
