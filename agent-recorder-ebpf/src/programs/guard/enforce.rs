//! A condemned session's processes end, or stop, at their next act; those of one that is
//! about to be judged at their next act that counts.
//!
//! Not here: when a session is condemned (`budget`).

use agent_recorder_abi::limits::STRIKING_NS;
use agent_recorder_abi::state::{FROZEN_FOR_JUDGE, FROZEN_NOT, Session, Tag};
use aya_ebpf::helpers::bpf_send_signal;
use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_send_signal_thread};

use crate::context::maps;
use crate::guard::judge;
use crate::kernel::compat::Task;
use crate::kernel::read::hooks;
use crate::kernel::uapi::{SIGCONT, SIGKILL, SIGSTOP};
use crate::session::actor::Actor;
use crate::session::tag;

/// The error of a refusal.
pub(crate) const EPERM: i32 = 1;
/// The result of a call that is made again after the signal that interrupts it, whatever the
/// program does about signals (include/linux/errno.h).
pub(crate) const ERESTARTNOINTR: i32 = 513;

/// Condemns a session: its members receive what `frozen` says (`FROZEN_…`).
#[inline(always)]
pub(crate) fn condemn(session: *mut Session, now: u64, frozen: u64) {
    // SAFETY: `session` and `last` are map values, checked not null.
    unsafe {
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
    if let Some(session) = condemned(tag)
        && !is_judged(session)
    {
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
        && !is_judged(session)
    {
        strike(session);
    }
}

/// The tag's session, if it is condemned.
#[inline(always)]
fn condemned(tag: Tag) -> Option<*mut Session> {
    tag::session(tag).filter(|&session| is_condemned(session))
}

#[inline(always)]
pub(crate) fn is_condemned(session: *mut Session) -> bool {
    // SAFETY: `session` is a map value, checked not null.
    unsafe { core::ptr::read_volatile(&raw const (*session).condemned) != 0 }
}

/// The answer of a security hook to an actor: one of a condemned session ends here, before
/// the act, or stops until the session is judged.
#[inline(always)]
pub(crate) fn verdict_on(actor: &Actor) -> i32 {
    if hooks().decide == 0 {
        return 0;
    }
    if actor.tag.held != 0 {
        end_unjudged();
        return -EPERM;
    }
    let Some(session) = condemned(actor.tag) else {
        return 0;
    };
    if is_judged(session) {
        return 0;
    }
    strike(session);
    -EPERM
}

/// The answer of a security hook to an act that the guard refuses: the call waits where the
/// session is about to be judged, and is asked about again.
#[inline(always)]
pub(crate) fn refusal(actor: &Actor) -> i32 {
    match condemned(actor.tag) {
        Some(session) if is_judged(session) => wait_for_judge(session, actor),
        _ => -EPERM,
    }
}

/// The answer of a security hook to the running task: 0 outside sessions.
#[inline(always)]
pub(crate) fn verdict() -> i32 {
    if hooks().decide == 0 {
        return 0;
    }
    Actor::current().map_or(0, |actor| verdict_on(&actor))
}

/// Whether user space is about to judge the condemned session. Until then only what would
/// count stops its process: an agent that is stopped itself would be a stopped job of the
/// shell that it was started from.
#[inline(always)]
fn is_judged(session: *mut Session) -> bool {
    // SAFETY: `session` is a map value, checked not null.
    unsafe { core::ptr::read_volatile(&raw const (*session).frozen) == FROZEN_FOR_JUDGE }
}

/// Stops the thread before its act. The same call begins anew when the session goes on. A
/// request of io_uring cannot begin anew, and is refused.
#[inline(always)]
fn wait_for_judge(session: *mut Session, actor: &Actor) -> i32 {
    if !actor.request.is_none() {
        return -EPERM;
    }
    // The signal to the thread, not to the process: the kernel keeps only one of the latter,
    // and a thread without one would see the error (bpf_send_signal_thread(), 5.6).
    // SAFETY: the helper takes a number.
    if unsafe { bpf_send_signal_thread(SIGSTOP) } != 0 {
        return -EPERM;
    }
    // The session may have gone on before the signal: then nobody would wake the thread.
    if !is_condemned(session) {
        // SAFETY: as above.
        unsafe { bpf_send_signal_thread(SIGCONT) };
    }
    -ERESTARTNOINTR
}

#[inline(always)]
fn end_unjudged() {
    // A failure means that the process is dying already.
    // SAFETY: the helper takes a number.
    unsafe { bpf_send_signal(SIGKILL) };
}

/// Ends the process, or stops it. For a judge that has died since, nobody waits.
#[inline(always)]
pub(crate) fn strike(session: *mut Session) {
    // A failure means that the process is dying already, or that the kernel
    // could not queue the signal: the daemon's sweep ends it.
    // SAFETY: `session` is a map value, checked not null; the helper takes a number.
    unsafe {
        let frozen = core::ptr::read_volatile(&raw const (*session).frozen);
        if frozen != FROZEN_NOT && (frozen != FROZEN_FOR_JUDGE || judge::lives()) {
            bpf_send_signal(SIGSTOP);
        } else {
            bpf_send_signal(SIGKILL);
        }
    }
}
