//! Counts what a session destroys, and condemns it at the limit.
//!
//! Here and not in user space: the limit holds while the daemon is slow or dead.

use agent_recorder_abi::event::{GuardBody, Kind};
use agent_recorder_abi::limits::MAX_LIMIT;
use agent_recorder_abi::state::{GUARD_KILL, Session, SessionNumber, Tag};
use aya_ebpf::helpers::bpf_send_signal;
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;

use crate::emit::{Writer, add, with_area};
use crate::kernel::{bound, current, guard_config, hooks};
use crate::primitives::add_shared;
use crate::{maps, task};

const SIGKILL: u32 = 9;
/// What a refusal says.
pub(crate) const EPERM: i32 = 1;
/// Masks an index of `Session::times`.
const SLOT: u64 = MAX_LIMIT as u64 - 1;
const _: () = assert!(MAX_LIMIT.is_power_of_two());

/// The session of a tag, `None` where the map was full when it began (then counted as trouble).
#[inline(always)]
pub(crate) fn session(tag: Tag) -> Option<*mut Session> {
    maps::SESSIONS.get_ptr_mut(&tag.session)
}

/// Whether a file may go: counts it and, over the limit, refuses it and ends
/// the process. Before the act, so that no thread can come in between.
#[inline(always)]
pub(crate) fn admits(tag: Tag) -> bool {
    admit(tag.session) != 0
}

/// A global function (see `call`): 0 refuses.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn admit(number: SessionNumber) -> u64 {
    let config = guard_config();
    let Some(session) = maps::SESSIONS.get_ptr_mut(&number) else {
        return 1;
    };
    // SAFETY: a map value, checked not null; the helper takes nothing.
    let (condemned, now) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*session).condemned),
            bpf_ktime_get_boot_ns(),
        )
    };
    if condemned != 0 {
        kill_current();
        return 0;
    }
    // SAFETY: as above.
    let counter = unsafe { &raw mut (*session).destroyed };
    let before = add_shared(number, counter, 1);
    let limit = if config.limit == 0 { 1 } else { config.limit };
    let slot = before % limit;
    if before < limit || now - time_at(session, slot) > config.window {
        set_time(session, slot, now);
        return 1;
    }
    take_back(counter);
    condemn(session, now);
    // Untold, the session dies at its next calls all the same; nobody sweeps for those that make none.
    tell(
        number,
        GuardBody {
            count: before,
            limit,
            window: config.window,
            killed: 1,
            denied: 1,
        },
    );
    0
}

/// A removal that was counted before the act has failed.
#[inline(always)]
pub(crate) fn failed(tag: Tag) {
    if let Some(session) = session(tag) {
        // SAFETY: a map value, checked not null.
        take_back(unsafe { &raw mut (*session).destroyed });
    }
}

#[inline(always)]
fn take_back(counter: *mut u64) {
    add(counter, u64::MAX);
}

/// A file is gone: unless it was counted before the act, counts it and, at the
/// limit, ends the process that did it at the exit of this very call, before it
/// runs again.
///
/// Where the guard refuses, that is for what passed it: a program on a function
/// is skipped on a CPU on which a task was preempted in it (`recursion_misses`).
#[inline(always)]
pub(crate) fn destroyed(tag: Tag, counted: bool) {
    if hooks().refuse == 0 || !counted {
        count_destroyed(tag.session);
    }
}

/// A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn count_destroyed(number: SessionNumber) -> u64 {
    let config = guard_config();
    let Some(session) = maps::SESSIONS.get_ptr_mut(&number) else {
        return 0;
    };
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: a map value, checked not null.
    let count = add_shared(number, unsafe { &raw mut (*session).destroyed }, 1) + 1;
    if config.action == 0 {
        return 0;
    }
    let limit = if config.limit == 0 { 1 } else { config.limit };
    set_time(session, (count - 1) % limit, now);
    if count < limit || now - time_at(session, count % limit) > config.window {
        return 0;
    }
    let kill = config.action == GUARD_KILL;
    if kill {
        condemn(session, now);
    }
    tell(
        number,
        GuardBody {
            count,
            limit,
            window: config.window,
            killed: u64::from(kill),
            denied: 0,
        },
    );
    0
}

#[inline(always)]
fn condemn(session: *mut Session, now: u64) {
    // SAFETY: a map value, checked not null.
    unsafe { core::ptr::write_volatile(&raw mut (*session).condemned, now) };
    kill_current();
}

#[inline(always)]
fn tell(session: SessionNumber, body: GuardBody) {
    with_area!(|scratch| {
        let writer = Writer::begin::<GuardBody>(scratch);
        writer.header(Kind::Guard, Tag::new(session, 0), current());
        // SAFETY: `begin` left room for it.
        unsafe { *writer.body::<GuardBody>() = body };
        writer.submit(Kind::Guard, true);
    });
}

#[inline(always)]
fn time_at(session: *mut Session, slot: u64) -> u64 {
    // SAFETY: as in `set_time`.
    unsafe {
        let times = (&raw const (*session).times).cast::<u64>();
        core::ptr::read_volatile(times.add(bound::<SLOT>(slot) as usize))
    }
}

#[inline(always)]
fn set_time(session: *mut Session, slot: u64, now: u64) {
    // SAFETY: the mask keeps the index inside the array of a map value.
    unsafe {
        let times = (&raw mut (*session).times).cast::<u64>();
        core::ptr::write_volatile(times.add(bound::<SLOT>(slot) as usize), now);
    }
}

/// Ends the process when its session is condemned.
#[inline(always)]
pub(crate) fn enforce(tag: Tag) {
    if is_condemned(tag) {
        kill_current();
    }
}

#[inline(always)]
fn is_condemned(tag: Tag) -> bool {
    session(tag)
        // SAFETY: a map value, checked not null.
        .is_some_and(|session| unsafe {
            core::ptr::read_volatile(&raw const (*session).condemned) != 0
        })
}

/// What a security hook answers to a member of this session: a condemned one
/// does nothing more, and ends here, before the act.
#[inline(always)]
pub(crate) fn verdict_on(tag: Tag) -> i32 {
    if hooks().decide == 0 || !is_condemned(tag) {
        return 0;
    }
    kill_current();
    -EPERM
}

/// The same to whoever runs: 0 outside sessions.
#[inline(always)]
pub(crate) fn verdict() -> i32 {
    if hooks().decide == 0 {
        return 0;
    }
    task::tag_of(current()).map_or(0, verdict_on)
}

#[inline(always)]
fn kill_current() {
    // A failure means that it is dying already, or that the kernel could not
    // queue the signal: the daemon's sweep meets it.
    // SAFETY: the helper takes a number.
    unsafe { bpf_send_signal(SIGKILL) };
}
