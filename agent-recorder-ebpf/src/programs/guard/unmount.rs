//! Counts the mounts that a session removes, and did not make, against its budgets.
//!
//! A removed mount takes its files from every process, and a file system
//! without its last mount loses what was in memory only.
//! Not here: the refusal of an unmount that would uncover the recorder (`self_protection`),
//! and mkfs(8), which counts by the device that it opens (`overwrite`).

use agent_recorder_abi::criteria::{Exceptions, MOUNT_REMOVED};
use agent_recorder_abi::event::Op;
use agent_recorder_abi::syscall::NO_ARG;

use crate::context::call::{Call, global};
use crate::guard::{criteria, self_protection};
use crate::kernel::compat::add_shared;
use crate::kernel::types::KernelPath;
use crate::session::tag;

/// Flags of mount(2) that change an existing mount: MS_REMOUNT, MS_MOVE,
/// MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED (include/uapi/linux/mount.h).
const CHANGES_ONE: u64 = 1 << 5 | 1 << 13 | 1 << 17 | 1 << 18 | 1 << 19 | 1 << 20;
/// Flag of move_mount(2): MOVE_MOUNT_F_EMPTY_PATH takes a new mount, or a copy, by its descriptor.
const IS_NEW: u64 = 1 << 2;

global! {
    /// A call has made or removed a mount. Mounts outside the recorder's
    /// namespace do not count: containers make and remove them. No tracepoint
    /// shows which mount it was, so a session may remove as many as it made.
    pub(crate) fn settle_mount(call: &Call, op: u32) {
        let Some(session) = tag::session(call.tag) else {
            return;
        };
        if MOUNT_REMOVED.exceptions.has(Exceptions::ELSEWHERE)
            && !self_protection::is_in_its_namespace(KernelPath::root_directory(call.task).mount)
        {
            return;
        }
        // SAFETY: `session` is a map value, checked not null.
        let made = unsafe { &raw mut (*session).mounts };
        let number = call.tag.session;
        if op == Op::Mount as u32 {
            if makes_one(call) {
                add_shared(number, made, 1);
            }
            return;
        }
        // Two threads at one time can both find the last: one more goes free,
        // and `made` is below zero then.
        // SAFETY: `made` is in a map value.
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
