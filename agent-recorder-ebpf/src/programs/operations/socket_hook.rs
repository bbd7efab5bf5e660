//! Security hooks on sockets, before the act: the kernel's copy of an address
//! is kept, and the guard answers.
//!
//! Not here: the record of the act, at its exit (`socket`, `datagram`).

use agent_recorder_abi::event::NetOp;

use crate::event::address::SOCK_DGRAM;
use crate::guard::enforce;
use crate::kernel::read::{offset, read};
use crate::kernel::types::Socket;
use crate::session::actor::Actor;
use crate::session::sockaddr_snapshot;

/// connect(2) and bind(2): 0, or an error that refuses them.
#[inline(always)]
pub(crate) fn addressed(op: NetOp, socket: Socket, address: u64, length: u32) -> i32 {
    let Some(actor) = Actor::current() else {
        return 0;
    };
    sockaddr_snapshot::keep(&actor, op, socket, address, length);
    enforce::verdict_on(&actor)
}

/// sendmsg(2) and its kin. The address of a stream's message is not recorded.
#[inline(always)]
pub(crate) fn sending(socket: Socket, message: u64) -> i32 {
    let Some(actor) = Actor::current() else {
        return 0;
    };
    if socket.kind() == SOCK_DGRAM && actor.request.is_none() {
        let name = read(message, offset!(msghdr_name));
        let length = read(message, offset!(msghdr_namelen));
        sockaddr_snapshot::keep(&actor, NetOp::Send, socket, name, length);
    }
    enforce::verdict_on(&actor)
}
