//! Counts what a session destroys against its budgets, and condemns it at the limit.
//!
//! The kernel counts, so that the limit holds while the daemon is slow or dead.
//! Not here: what an operation destroys (`pre_op`, `post_op`, `overwrite`), how
//! much that counts as (`criteria`), and how a condemned session ends (`enforce`).

use agent_recorder_abi::criteria::PARTS_PER_FILE;
use agent_recorder_abi::event::{GuardBody, Kind};
use agent_recorder_abi::limits::{MAX_LIMIT, MAX_PROTECTED, MAX_STEPS};
use agent_recorder_abi::policy::{
    Budget, GUARD_ALERT, GUARD_DENY, GUARD_FREEZE, JUDGED_LIMIT, JUDGED_PROTECTED, JUDGED_SLOT,
    Policy,
};
use agent_recorder_abi::state::{
    FROZEN_FOR_JUDGE, FROZEN_FOR_PERSON, FROZEN_NOT, Session, SessionNumber, Tag,
};
use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;

use crate::context::areas::with_area;
use crate::context::call::global;
use crate::context::maps;
use crate::event::writer::Writer;
use crate::guard::verdict::Verdict;
use crate::guard::{enforce, judge};
use crate::kernel::compat::{add_shared, current};
use crate::kernel::counters::add;
use crate::kernel::read::{bound, guard_config};
use crate::session::actor::can_stop;

/// Masks an index of `Session::times`.
const SLOT: u64 = MAX_LIMIT as u64 - 1;
/// Masks an index of one row of `Session::steps`.
const STEP: u64 = MAX_STEPS as u64 - 1;
/// Masks an index of `Session::protected`.
const PLACE: u64 = MAX_PROTECTED as u64 - 1;
const _: () = assert!(
    MAX_LIMIT.is_power_of_two() && MAX_STEPS.is_power_of_two() && MAX_PROTECTED.is_power_of_two()
);

global! {
    /// Counts a file before the act, so that no thread comes in between. Over
    /// the limit the act is refused, and taken back from the budgets.
    pub(crate) fn admit(number: SessionNumber, judged: u64, bytes: u64) -> Verdict {
        let config = guard_config();
        let Some(session) = maps::SESSIONS.get_ptr_mut(&number) else {
            return Verdict::Admitted;
        };
        // SAFETY: `session` is a map value, checked not null.
        if unsafe { core::ptr::read_volatile(&raw const (*session).condemned) } != 0 {
            enforce::strike(session);
            return Verdict::Refused;
        }
        let met = charge(session, number, judged, bytes);
        if met == WITHIN {
            return Verdict::Admitted;
        }
        if config.action == GUARD_ALERT {
            meet(session, number, met, 0);
            return Verdict::Admitted;
        }
        refund(session, judged, bytes);
        meet(session, number, met, 1);
        Verdict::Refused
    }
}

global! {
    /// Counts a file after the act and, at the limit, strikes the process at the
    /// exit of this very call, before it runs again. True if a limit is met.
    pub(crate) fn count_destroyed(number: SessionNumber, judged: u64, bytes: u64) -> bool {
        if guard_config().action == 0 {
            return false;
        }
        let Some(session) = maps::SESSIONS.get_ptr_mut(&number) else {
            return false;
        };
        let met = charge(session, number, judged, bytes);
        if met != WITHIN {
            meet(session, number, met, 0);
            return true;
        }
        // The act that fills the budget is the last: the next one cannot be refused here.
        let filled = is_filled(session);
        if filled != WITHIN {
            meet(session, number, filled, 0);
            return true;
        }
        false
    }
}

global! {
    /// Counts one act that destroys as much as any limit allows.
    pub(crate) fn whole(number: SessionNumber) {
        if guard_config().action == 0 {
            return;
        }
        if let Some(session) = maps::SESSIONS.get_ptr_mut(&number) {
            // SAFETY: `session` is a map value, checked not null.
            add(unsafe { &raw mut (*session).destroyed }, 1);
            meet(session, number, Policy::Whole as u64, 0);
        }
    }
}

global! {
    /// Refuses an act that destroys as much as any limit allows, which meets the
    /// limit. With `GUARD_ALERT` the act is counted after it was done ([`whole`]).
    pub(crate) fn admit_whole(number: SessionNumber) -> Verdict {
        let action = guard_config().action;
        if action == 0 || action == GUARD_ALERT {
            return Verdict::Admitted;
        }
        let Some(session) = maps::SESSIONS.get_ptr_mut(&number) else {
            return Verdict::Admitted;
        };
        meet(session, number, Policy::Whole as u64, 1);
        Verdict::Refused
    }
}

/// How often the session was judged and went on.
#[inline(always)]
pub(crate) fn judgements(number: SessionNumber) -> u32 {
    maps::SESSIONS
        .get_ptr(&number)
        // SAFETY: a map value that the look-up found.
        .map_or(0, |session| unsafe {
            core::ptr::read_volatile(&raw const (*session).judgements)
        })
}

/// Takes back a removal that was counted before the act and has failed.
#[inline(always)]
pub(crate) fn failed(number: SessionNumber, judged: u64, bytes: u64) {
    if let Some(session) = maps::SESSIONS.get_ptr_mut(&number) {
        refund(session, judged, bytes);
    }
}

/// Counts a part of a file: `PARTS_PER_FILE` parts count as one file.
#[inline(always)]
pub(crate) fn part(number: SessionNumber) {
    if let Some(session) = maps::SESSIONS.get_ptr_mut(&number) {
        // SAFETY: `session` is a map value, checked not null.
        let before = add_shared(number, unsafe { &raw mut (*session).rewritten }, 1);
        if before % PARTS_PER_FILE == PARTS_PER_FILE - 1 {
            count_destroyed(number, 0, 0);
        }
    }
}

/// Every budget has room. A limit that is met is the number of its [`Policy`].
const WITHIN: u64 = u64::MAX;

/// Counts one file, and returns the limit that it exceeds, or [`WITHIN`].
#[inline(always)]
fn charge(session: *mut Session, number: SessionNumber, judged: u64, bytes: u64) -> u64 {
    let config = guard_config();
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: `session` is a map value, checked not null.
    let (files, all_bytes) = unsafe { (&raw mut (*session).destroyed, &raw mut (*session).bytes) };
    let before = add_shared(number, files, 1);
    let bytes_before = add_shared(number, all_bytes, bytes);
    if judged & JUDGED_PROTECTED != 0 {
        let slot = bound::<PLACE>(judged >> JUDGED_SLOT) as usize;
        // SAFETY: `slot` is masked to the length of `protected`, which is in a map value.
        let counter = unsafe { (&raw mut (*session).protected).cast::<u64>().add(slot) };
        if add_shared(number, counter, 1) >= judged >> JUDGED_LIMIT {
            return Policy::Protected as u64;
        }
    }
    let limit = if config.files.steps == 0 {
        1
    } else {
        config.files.steps
    };
    let slot = before % limit;
    if config.files.steps != 0 {
        if before >= limit && now - time_at(session, slot) <= config.files.window {
            return Policy::Files as u64;
        }
        set_time(session, slot, now);
    }
    if step_over(session, 0, &config.files_long, before, 1, now) {
        return Policy::FilesLong as u64;
    }
    if step_over(session, 1, &config.bytes, bytes_before, bytes, now) {
        return Policy::Bytes as u64;
    }
    if step_over(session, 2, &config.bytes_long, bytes_before, bytes, now) {
        return Policy::BytesLong as u64;
    }
    WITHIN
}

#[inline(always)]
fn refund(session: *mut Session, judged: u64, bytes: u64) {
    // SAFETY: `session` is a map value, checked not null; `slot` is masked to the array's length.
    unsafe {
        // A judgement may have taken it back already, between the count and this.
        if core::ptr::read_volatile(&raw const (*session).destroyed) == 0 {
            return;
        }
        add(&raw mut (*session).destroyed, u64::MAX);
        add(&raw mut (*session).bytes, bytes.wrapping_neg());
        if judged & JUDGED_PROTECTED != 0 {
            let slot = bound::<PLACE>(judged >> JUDGED_SLOT) as usize;
            add(
                (&raw mut (*session).protected).cast::<u64>().add(slot),
                u64::MAX,
            );
        }
    }
}

/// The limit that the next file would exceed, for callers that cannot refuse it.
#[inline(always)]
fn is_filled(session: *mut Session) -> u64 {
    let config = guard_config();
    // SAFETY: `session` is a map value, checked not null; the helper takes nothing.
    let (count, now) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*session).destroyed),
            bpf_ktime_get_boot_ns(),
        )
    };
    let steps = config.files.steps;
    if steps != 0 && count >= steps && now - time_at(session, count % steps) <= config.files.window
    {
        return Policy::Files as u64;
    }
    let long = &config.files_long;
    if long.steps == 0 || long.step == 0 || count % long.step != 0 {
        return WITHIN;
    }
    // The step that the next file begins.
    let begun = count / long.step;
    let slot = bound::<STEP>(begun % long.steps) as usize;
    // SAFETY: `slot` is masked to the first of three rows of MAX_STEPS, in a map value.
    let at =
        unsafe { core::ptr::read_volatile((&raw const (*session).steps).cast::<u64>().add(slot)) };
    if begun >= long.steps && now - at <= long.window {
        return Policy::FilesLong as u64;
    }
    WITHIN
}

/// Whether `added` takes a sum over a budget that is counted in steps:
/// `budget.steps` of them begin within the window.
#[inline(always)]
fn step_over(
    session: *mut Session,
    row: u64,
    budget: &Budget,
    before: u64,
    added: u64,
    now: u64,
) -> bool {
    if budget.steps == 0 || added == 0 {
        return false;
    }
    let step = if budget.step == 0 { 1 } else { budget.step };
    // The steps that begin within `added`.
    let first = before.div_ceil(step);
    let end = (before + added).div_ceil(step);
    if end - first >= budget.steps {
        return true;
    }
    let mut over = false;
    let mut index = 0;
    while index < MAX_STEPS as u64 {
        let begun = first + index;
        if begun >= end {
            break;
        }
        let slot = row * MAX_STEPS as u64 + bound::<STEP>(begun % budget.steps);
        // SAFETY: `slot` is in row `row` of the three rows of MAX_STEPS, in a map value.
        unsafe {
            let at = (&raw mut (*session).steps).cast::<u64>().add(slot as usize);
            if begun >= budget.steps && now - core::ptr::read_volatile(at) <= budget.window {
                over = true;
            }
            core::ptr::write_volatile(at, now);
        }
        index += 1;
    }
    over
}

/// A limit is met: emits it and condemns the session, except on an alert or where `deny` refused.
#[inline(always)]
fn meet(session: *mut Session, number: SessionNumber, policy: u64, refused: u64) {
    let config = guard_config();
    // SAFETY: the helper takes nothing.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let ends = config.action != GUARD_ALERT && !(config.action == GUARD_DENY && refused != 0);
    let frozen = if is_judged(session, config.action, policy) {
        FROZEN_FOR_JUDGE
    } else if config.action == GUARD_FREEZE {
        FROZEN_FOR_PERSON
    } else {
        FROZEN_NOT
    };
    if ends {
        enforce::condemn(session, now, frozen);
    }
    // SAFETY: `session` is a map value, checked not null.
    let count = unsafe {
        let emitted = core::ptr::read_volatile(&raw const (*session).limit_emitted);
        if !ends && emitted != 0 && now - emitted <= config.files.window {
            return;
        }
        core::ptr::write_volatile(&raw mut (*session).limit_emitted, now);
        core::ptr::read_volatile(&raw const (*session).destroyed)
    };
    let budget = config.budget_of(policy);
    // Without this event the daemon does not sweep; members are still struck at their next calls.
    emit(
        number,
        GuardBody {
            count,
            limit: budget.limit(),
            window: budget.window,
            killed: u64::from(ends),
            denied: refused,
            policy: policy as u32,
            judged: u32::from(ends && frozen == FROZEN_FOR_JUDGE),
        },
    );
}

/// Whether user space judges what was destroyed before the session ends: not on protected
/// paths and devices, and not once the session is condemned for good. Nor what a worker of
/// io_uring or an ending task did: no stop holds up the others that gave them the work.
#[inline(always)]
fn is_judged(session: *mut Session, action: u64, policy: u64) -> bool {
    const BYTES_LONG: u64 = Policy::BytesLong as u64;
    // SAFETY: `session` is a map value, checked not null.
    let frozen = unsafe { core::ptr::read_volatile(&raw const (*session).frozen) };
    let is_final = enforce::is_condemned(session) && frozen != FROZEN_FOR_JUDGE;
    action != GUARD_DENY
        && policy <= BYTES_LONG
        && !is_final
        && can_stop(current())
        && judge::lives()
}

#[inline(always)]
fn emit(session: SessionNumber, body: GuardBody) {
    with_area!(|scratch| {
        let writer = Writer::begin::<GuardBody>(scratch);
        writer.header(Kind::Guard, Tag::new(session, 0));
        // SAFETY: `begin` left room for the body.
        unsafe { *writer.body::<GuardBody>() = body };
        writer.submit(Kind::Guard, true);
    });
}

#[inline(always)]
fn time_at(session: *mut Session, slot: u64) -> u64 {
    // SAFETY: `slot` is masked to the length of `times`, which is in a map value.
    unsafe {
        let times = (&raw const (*session).times).cast::<u64>();
        core::ptr::read_volatile(times.add(bound::<SLOT>(slot) as usize))
    }
}

#[inline(always)]
fn set_time(session: *mut Session, slot: u64, now: u64) {
    // SAFETY: `slot` is masked to the length of `times`, which is in a map value.
    unsafe {
        let times = (&raw mut (*session).times).cast::<u64>();
        core::ptr::write_volatile(times.add(bound::<SLOT>(slot) as usize), now);
    }
}
