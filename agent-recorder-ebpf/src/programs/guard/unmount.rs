//! Mounts that a session takes away from others, counted against its budgets.
//!
//! What is under a mount that is gone is there no more for anybody, and a file
//! system of which the last is gone loses what was in memory only. Not here:
//! that it is refused where it would uncover the recorder (`self_protection`), and
//! a file system that is made: the device that it is made on counts (`overwrite`).

use agent_recorder_abi::criteria::{Exceptions, MOUNT_REMOVED};
use agent_recorder_abi::event::Op;
use agent_recorder_abi::syscall::NO_ARG;

use crate::context::call::{Call, global};
use crate::guard::{criteria, self_protection};
use crate::kernel::compat::add_shared;
use crate::kernel::types::KernelPath;
use crate::session::tag;

/// mount(2): MS_REMOUNT, MS_MOVE, MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED
/// (include/uapi/linux/mount.h) change one that is there.
const CHANGES_ONE: u64 = 1 << 5 | 1 << 13 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
/// move_mount(2): MOVE_MOUNT_F_EMPTY_PATH takes a new one, or a copy, by its descriptor.
const IS_NEW: u64 = 1 << 2;

global! {
    /// A mount has come or gone, by a call that succeeded. Those in a namespace that is
    /// not the recorder's own are nothing to others: containers come and go so.
    /// Which mount it was, no tracepoint tells: as many as the session made are its own.
    pub(crate) fn settle_mount(call: &Call, op: u32) {
        let Some(session) = tag::session(call.tag) else {
            return;
        };
        if MOUNT_REMOVED.exceptions.has(Exceptions::ELSEWHERE)
            && !self_protection::is_in_its_namespace(KernelPath::root_directory(call.task).mount)
        {
            return;
        }
        // SAFETY: a map value, checked not null.
        let made = unsafe { &raw mut (*session).mounts };
        let number = call.tag.session;
        if op == Op::Mount as u32 {
            if makes_one(call) {
                add_shared(number, made, 1);
            }
            return;
        }
        // Two threads at one time can both find the last: one more goes free, and
        // the number is below zero then.
        // SAFETY: as above.
        let has_made_some = unsafe { core::ptr::read_volatile(made) } as i64 > 0;
        if MOUNT_REMOVED.exceptions.has(Exceptions::OWN) && has_made_some {
            add_shared(number, made, u64::MAX);
            return;
        }
        criteria::count(MOUNT_REMOVED, number, 0, 0);
    }
}

#[inline(always)]
fn makes_one(call: &Call) -> bool {
    let spec = call.spec();
    let flags = call.optional(spec.flags).unwrap_or(0);
    if spec.path2 != NO_ARG {
        flags & IS_NEW != 0
    } else {
        flags & CHANGES_ONE == 0
    }
}
