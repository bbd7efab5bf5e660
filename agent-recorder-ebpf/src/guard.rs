//! Counts what a session destroys, and condemns it at the limit.
//!
//! Here and not in user space: the limit holds while the daemon is slow or dead.

use agent_recorder_abi::event::{GuardBody, Kind};
use agent_recorder_abi::limits::MAX_LIMIT;
use agent_recorder_abi::state::{GUARD_KILL, Session, Tag};
use aya_ebpf::helpers::bpf_send_signal;

use crate::emit::{Context, Writer, add, scratch};
use crate::kernel::{Task, bound, guard_config};
use crate::maps;

const SIGKILL: u32 = 9;

/// The session of a tag, `None` where the map was full when it began (then counted as trouble).
#[inline(always)]
pub(crate) fn session(tag: Tag) -> Option<*mut Session> {
    maps::SESSIONS.get_ptr_mut(&tag.session)
}

/// A file is gone: counts it and, at the limit, ends the process that did it
/// at the exit of this very call, before it runs again.
#[inline(always)]
pub(crate) fn destroyed(task: Task, tag: Tag, now: u64) {
    let config = guard_config();
    let Some(session) = session(tag) else { return };
    // SAFETY: a map value, checked not null.
    let count = add(unsafe { &raw mut (*session).destroyed }, 1) + 1;
    if config.action == 0 {
        return;
    }
    let limit = if config.limit == 0 { 1 } else { config.limit };
    let oldest = replace_time(session, (count - 1) % limit, count % limit, now);
    if count < limit || now - oldest > config.window {
        return;
    }
    let kill = config.action == GUARD_KILL;
    if kill {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*session).condemned, now) };
        kill_current();
    }
    if let Some(scratch) = scratch(Context::Process) {
        let writer = Writer::begin::<GuardBody>(scratch);
        writer.header(Kind::Guard, tag, task);
        // SAFETY: `begin` left room for it.
        unsafe {
            *writer.body::<GuardBody>() = GuardBody {
                count,
                limit,
                window: config.window,
                killed: u64::from(kill),
            };
        }
        writer.submit(Kind::Guard, true);
    }
}

/// Stores `now` for this operation, and gives the time of the one `limit - 1` before it.
#[inline(always)]
fn replace_time(session: *mut Session, newest: u64, oldest: u64, now: u64) -> u64 {
    const INDEX: u64 = MAX_LIMIT as u64 - 1;
    // SAFETY: the masks keep both indices inside the array of a map value.
    unsafe {
        let times = (&raw mut (*session).times).cast::<u64>();
        core::ptr::write_volatile(times.add(bound::<INDEX>(newest) as usize), now);
        core::ptr::read_volatile(times.add(bound::<INDEX>(oldest) as usize))
    }
}

/// Ends the process when its session is condemned.
#[inline(always)]
pub(crate) fn enforce(tag: Tag) {
    if let Some(session) = session(tag) {
        // SAFETY: a map value, checked not null.
        if unsafe { core::ptr::read_volatile(&raw const (*session).condemned) } != 0 {
            kill_current();
        }
    }
}

#[inline(always)]
fn kill_current() {
    // A failure means that it is dying already, or that the kernel could not
    // queue the signal: the daemon's sweep meets it.
    // SAFETY: the helper takes a number.
    unsafe { bpf_send_signal(SIGKILL) };
}
