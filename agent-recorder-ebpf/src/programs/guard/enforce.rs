//! A condemned session's processes end, or stop, at their next act.
//!
//! Not here: when a session is condemned (`budget`).

use agent_recorder_abi::limits::STRIKING_NS;
use agent_recorder_abi::policy::GUARD_FREEZE;
use agent_recorder_abi::state::{Session, Tag};
use aya_ebpf::helpers::bpf_send_signal;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;

use crate::context::maps;
use crate::kernel::compat::{Task, current};
use crate::kernel::read::hooks;
use crate::kernel::uapi::{SIGKILL, SIGSTOP};
use crate::session::tag;

/// The error of a refusal.
pub(crate) const EPERM: i32 = 1;

#[inline(always)]
pub(crate) fn condemn(session: *mut Session, now: u64, action: u64) {
    // SAFETY: `session` and `last` are map values, checked not null.
    unsafe {
        let frozen = u64::from(action == GUARD_FREEZE);
        core::ptr::write_volatile(&raw mut (*session).frozen, frozen);
        core::ptr::write_volatile(&raw mut (*session).condemned, now);
        if let Some(last) = maps::CONDEMNED.get_ptr_mut(0) {
            core::ptr::write_volatile(last, now);
        }
    }
    strike(session);
}

/// Strikes the process if its session is condemned. Ends a process that was
/// woken while its program waits for its judgement.
#[inline(always)]
pub(crate) fn enforce(tag: Tag) {
    if tag.held != 0 {
        end_unjudged();
    }
    if let Some(session) = condemned(tag) {
        strike(session);
    }
}

/// An unrecorded call ends. For `STRIKING_NS` after a limit was met, it also is the last call
/// of a condemned session's member: a parent that waited for a struck child begins no other.
#[inline(always)]
pub(crate) fn enforce_unrecorded(task: Task) {
    let Some(last) = maps::CONDEMNED.get_ptr(0) else {
        return;
    };
    // SAFETY: `last` is a map value, checked not null; the helper takes nothing.
    let is_recent = unsafe {
        let last = core::ptr::read_volatile(last);
        last != 0 && bpf_ktime_get_boot_ns() - last <= STRIKING_NS
    };
    if is_recent
        && let Some(tag) = tag::tag_of(task)
        && let Some(session) = condemned(tag)
    {
        strike(session);
    }
}

/// The tag's session, if it is condemned.
#[inline(always)]
fn condemned(tag: Tag) -> Option<*mut Session> {
    // SAFETY: `session` is a map value, checked not null.
    tag::session(tag).filter(|session| unsafe {
        core::ptr::read_volatile(&raw const (**session).condemned) != 0
    })
}

/// The answer of a security hook to a member of this session: that of a
/// condemned session ends here, before the act.
#[inline(always)]
pub(crate) fn verdict_on(tag: Tag) -> i32 {
    if hooks().decide == 0 {
        return 0;
    }
    if tag.held != 0 {
        end_unjudged();
        return -EPERM;
    }
    let Some(session) = condemned(tag) else {
        return 0;
    };
    strike(session);
    -EPERM
}

/// The answer of a security hook to the running task: 0 outside sessions.
#[inline(always)]
pub(crate) fn verdict() -> i32 {
    if hooks().decide == 0 {
        return 0;
    }
    tag::tag_of(current()).map_or(0, verdict_on)
}

#[inline(always)]
fn end_unjudged() {
    // A failure means that the process is dying already.
    // SAFETY: the helper takes a number.
    unsafe { bpf_send_signal(SIGKILL) };
}

/// Ends the process, or stops it.
#[inline(always)]
pub(crate) fn strike(session: *mut Session) {
    // A failure means that the process is dying already, or that the kernel
    // could not queue the signal: the daemon's sweep ends it.
    // SAFETY: `session` is a map value, checked not null; the helper takes a number.
    unsafe {
        if core::ptr::read_volatile(&raw const (*session).frozen) != 0 {
            bpf_send_signal(SIGSTOP);
        } else {
            bpf_send_signal(SIGKILL);
        }
    }
}
