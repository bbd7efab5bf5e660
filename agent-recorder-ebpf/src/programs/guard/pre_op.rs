//! Sees what an operation on names is about to destroy, before the act or
//! during it, and counts it before the act where the guard refuses.
//!
//! Security hooks receive the object. Without them, the tracepoints of inode
//! times (6.13) receive every inode that an operation changes.
//! Not here: which of these are gone after the act (`post_op`).

use agent_recorder_abi::criteria::{FILE_REPLACED, FILE_REWRITTEN, MOVED_OUT, keeps_enough};
use agent_recorder_abi::event::{COUNTED_REMOVED, COUNTED_REPLACED, Op};
use agent_recorder_abi::policy::{
    Foreseen, JUDGED_ABOVE, JUDGED_CREATED, JUDGED_FREE, JUDGED_NAMED, JUDGED_PROTECTED,
    JUDGED_REPLACED, JUDGED_SLOT, KNOWN_FOREIGN, KNOWN_FREED, KNOWN_REPLACED, Removed, RemovedKey,
    VICTIMS, Victim,
};
use agent_recorder_abi::state::{SessionNumber, Tag};

use crate::context::areas::{untyped, with_area};
use crate::context::call::global;
use crate::context::maps;
use crate::context::operation::OperationKey;
use crate::context::scratch::{Scratch, ScratchId};
use crate::guard::foreseen::{at, foreseen};
use crate::guard::judge::report_victim;
use crate::guard::ownership::{self, judge};
use crate::guard::verdict::Verdict;
use crate::guard::{budget, criteria};
use crate::kernel::types::{Dentry, Inode};

/// Masks protected place and slot in a judgement.
const PLACE: u64 = JUDGED_PROTECTED | 0xff << JUDGED_SLOT;

/// Starts the area's `Foreseen` for an operation.
#[inline(always)]
fn begin(scratch: *mut Scratch, op: Op) -> *mut Foreseen {
    let known = foreseen(scratch);
    // SAFETY: `known` is in a map value.
    unsafe {
        (*known).op = op as u32;
        (*known).counted = 0;
        (*known).seen = 0;
        (*known).made = 0;
    }
    known
}

#[inline(always)]
fn keep(scratch: *mut Scratch, key: OperationKey) {
    // LRU: fails only without memory; the act then counts as unseen.
    // SAFETY: `scratch` is a map value.
    let _ = maps::FORESEEN.insert(&key, unsafe { &*foreseen(scratch) }, 0);
}

/// Observes the object at a dentry as the victim of this index.
#[inline(always)]
pub(crate) fn look(
    scratch: *mut Scratch,
    session: SessionNumber,
    dentry: Dentry,
    index: u64,
) -> *mut Victim {
    look_at_victim(ScratchId::of(scratch), session, dentry, index);
    at(foreseen(scratch), index)
}

global! {
    fn look_at_victim(
        area: ScratchId as scratch,
        session: SessionNumber,
        dentry: Dentry,
        index: u64,
    ) {
        let mut judged = judge(area, session, dentry);
        let inode = dentry.inode();
        if !inode.is_none() && !inode.is_directory() && inode.links() > 1 {
            judged |= JUDGED_NAMED;
        }
        let victim = at(foreseen(scratch), index);
        // SAFETY: `victim` is in a map value.
        unsafe {
            (*victim).inode = inode.address();
            (*victim).dentry = dentry.address();
            (*victim).parent = dentry.parent().address();
            (*victim).name = dentry.name_hash();
            (*victim).bytes = inode.allocated();
            (*victim).size = inode.size();
            (*victim).modified_s = inode.modified_s();
            (*victim).modified_ns = inode.modified_ns();
            (*victim).mode = inode.mode();
            (*victim).judged = judged;
        }
    }
}

global! {
    /// A hook was given a name that is to be removed.
    pub(crate) fn foresee_removal(
        area: ScratchId as scratch,
        session: SessionNumber,
        key: OperationKey,
        dentry: Dentry,
        restores: u32,
    ) -> Verdict [else Verdict::Admitted] {
        let is_directory = dentry.inode().is_directory();
        let op = if is_directory { Op::Rmdir } else { Op::Delete };
        let criterion = criteria::of_removal(is_directory);
        let known = begin(scratch, op);
        let victim = look(scratch, session, dentry, 0);
        // SAFETY: `victim` is in a map value.
        let (judged, bytes) = unsafe {
            if criteria::is_restored(criterion, (*victim).judged, restores) {
                (*victim).judged |= JUDGED_FREE;
            }
            ((*victim).judged, (*victim).bytes)
        };
        let counts = criteria::refuses(criterion)
            && judged & (JUDGED_NAMED | JUDGED_REPLACED) == 0
            && criteria::counts(criterion, judged, restores);
        if counts {
            if criteria::admit(criterion, session, judged, bytes) == Verdict::Refused {
                return Verdict::Refused;
            }
            report_victim(area, session, 0, dentry, COUNTED_REMOVED);
        }
        // SAFETY: `known` is in a map value.
        unsafe {
            (*known).seen = 1;
            (*known).counted = u32::from(counts);
        }
        keep(scratch, key);
        Verdict::Admitted
    }
}

global! {
    /// A hook was given the names of a rename, or of a link.
    pub(crate) fn foresee_move(
        area: ScratchId as scratch,
        session: SessionNumber,
        old: Dentry,
        new: Dentry,
        operation: u64,
    ) -> Verdict [else Verdict::Admitted] {
        let source = look(scratch, session, old, 0);
        let target = look(scratch, session, new, 1);
        // SAFETY: `source` and `target` are in a map value.
        let (inode, was, is) = unsafe {
            (
                Inode::at((*source).inode),
                (*source).judged,
                (*target).judged,
            )
        };
        // SAFETY: as above.
        let elsewhere = unsafe { (*source).parent != (*target).parent };
        moved(session, inode, was, is, elsewhere);
        if operation & MOVE_REPLACES == 0 {
            return Verdict::Admitted;
        }
        if leaves_protection(was, is)
            && criteria::refuses(MOVED_OUT)
            && criteria::admit(MOVED_OUT, session, was, 0) == Verdict::Refused
        {
            return Verdict::Refused;
        }
        // SAFETY: `target` is in a map value.
        let (replaced, bytes) = unsafe { (Inode::at((*target).inode), (*target).bytes) };
        let restores = (operation & MOVE_RESTORES) as u32;
        if replaced.is_none()
            || replaced == inode
            || criteria::is_restored(FILE_REPLACED, is, restores)
        {
            return Verdict::Admitted;
        }
        let loss = loss_by_replacing(source, target);
        if loss == LOSS_REWRITTEN {
            rewritten_by(session, inode);
        } else if loss == LOSS_LATER {
            stands_for(session, inode, replaced);
        }
        if loss != LOSS_WHOLE {
            return Verdict::Admitted;
        }
        if criteria::refuses(FILE_REPLACED)
            && criteria::admit(FILE_REPLACED, session, is, bytes) == Verdict::Refused
        {
            return Verdict::Refused;
        }
        report_victim(area, session, 1, new, COUNTED_REPLACED);
        if !criteria::refuses(FILE_REPLACED) {
            criteria::count(FILE_REPLACED, session, is, bytes);
        }
        Verdict::Admitted
    }
}

/// A bit of `foresee_move`'s `operation`: the object that had the second name loses it.
pub(crate) const MOVE_REPLACES: u64 = 1;
/// A bit of the same `operation`: see `policy::PROGRAM_RESTORES`.
pub(crate) const MOVE_RESTORES: u64 = 2;

/// Notes what a move changes for later judgements of the object. `elsewhere`: it has another
/// directory now, which the judge could spare.
#[inline(always)]
pub(crate) fn moved(session: SessionNumber, inode: Inode, old: u64, new: u64, elsewhere: bool) {
    if old & JUDGED_CREATED != 0 {
        return;
    }
    if old & JUDGED_FREE == 0 && (new & JUDGED_FREE != 0 || elsewhere) {
        ownership::note(session, inode, KNOWN_FOREIGN);
    }
    if old & JUDGED_FREE != 0 && new & JUDGED_FREE == 0 {
        ownership::note(session, inode, KNOWN_FREED);
    }
}

/// Whether a move takes an object out of a protected path, or moves a directory above one.
#[inline(always)]
pub(crate) fn leaves_protection(old: u64, new: u64) -> bool {
    old & JUDGED_ABOVE != 0
        || old & JUDGED_PROTECTED != 0
            && criteria::counts(MOVED_OUT, old, 0)
            && old & PLACE != new & PLACE
}

pub(crate) const LOSS_NONE: u32 = 0;
pub(crate) const LOSS_REWRITTEN: u32 = 1;
const LOSS_WHOLE: u32 = 2;
/// The file keeps another name; the removal of that name makes it a rewritten file.
pub(crate) const LOSS_LATER: u32 = 3;

/// What is lost when `source` takes the name of `target` (`LOSS_…`). An editor or a
/// formatter replaces a file by one that it has just written and that is about as long.
#[inline(always)]
pub(crate) fn loss_by_replacing(source: *const Victim, target: *const Victim) -> u32 {
    // SAFETY: `source` and `target` are in a map value.
    let (kept, had, by, judged) = unsafe {
        (
            (*source).size,
            (*target).size,
            (*source).judged,
            (*target).judged,
        )
    };
    let is_rewritten = by & JUDGED_CREATED != 0 && keeps_enough(kept, had);
    if !criteria::counts(FILE_REPLACED, judged, 0) {
        LOSS_NONE
    } else if judged & JUDGED_NAMED != 0 {
        if is_rewritten { LOSS_LATER } else { LOSS_NONE }
    } else if is_rewritten || judged & JUDGED_REPLACED != 0 {
        LOSS_REWRITTEN
    } else {
        LOSS_WHOLE
    }
}

/// A file of the session's has taken one name of a file that it did not make,
/// which keeps another: dpkg(1) links each old file to a second name, puts the
/// new one over the first, and removes the second when all went well.
#[inline(always)]
pub(crate) fn stands_for(session: SessionNumber, by: Inode, replaced: Inode) {
    ownership::disown(session, by);
    ownership::note(session, replaced, KNOWN_REPLACED);
}

/// A file of the session's has replaced one that it did not make, and is judged
/// as that one from now on.
#[inline(always)]
pub(crate) fn rewritten_by(session: SessionNumber, by: Inode) {
    ownership::disown(session, by);
    criteria::count(FILE_REWRITTEN, session, 0, 0);
}

/// Remembers the name of a removed file that counted: a new file of this name can replace it.
#[inline(always)]
pub(crate) fn remember(session: SessionNumber, victim: *const Victim) {
    // SAFETY: `victim` is in a map value.
    let (key, removed) = unsafe {
        (
            RemovedKey {
                session,
                parent: (*victim).parent,
                name: (*victim).name,
            },
            Removed {
                size: (*victim).size,
                bytes: (*victim).bytes,
                judged: (*victim).judged,
                judgements: budget::judgements(session),
                spare: 0,
            },
        )
    };
    // LRU: fails only without memory; then the removal counts, whatever follows.
    let _ = maps::REMOVED.insert(&key, &removed, 0);
}

global! {
    /// A hook was given the name of what is to be made.
    pub(crate) fn foresee_making(
        area: ScratchId as scratch,
        key: OperationKey,
        dentry: Dentry,
        op: u32,
    ) {
        let known = begin(scratch, Op::Mkdir);
        // SAFETY: `known` is in a map value.
        unsafe {
            (*known).op = op;
            (*known).made = dentry.address();
        }
        keep(scratch, key);
    }
}

global! {
    /// A hook was given a file whose contents are to be cut.
    pub(crate) fn foresee_cut(
        area: ScratchId as scratch,
        session: SessionNumber,
        key: OperationKey,
        dentry: Dentry,
    ) {
        let known = begin(scratch, Op::Truncate);
        look(scratch, session, dentry, 0);
        // SAFETY: `known` is in a map value.
        unsafe { (*known).seen = 1 };
        keep(scratch, key);
    }
}

#[inline(always)]
pub(crate) fn is_making(op: u32) -> bool {
    op == Op::Mkdir as u32 || op == Op::Symlink as u32 || op == Op::Create as u32
}

/// An inode's times change during the operation that `key` names. An operation
/// on names, or a truncate, is about that inode.
#[inline(always)]
pub(crate) fn touched(tag: Tag, op: u32, key: OperationKey, inode: Inode) {
    let is_directory = inode.is_directory();
    let matters = is_making(op)
        || (op == Op::Delete as u32 || op == Op::Truncate as u32 || op == Op::Link as u32)
            && !is_directory
        || op == Op::Rmdir as u32 && is_directory
        || op == Op::Rename as u32;
    if !matters {
        return;
    }
    with_area!(|scratch| {
        let inode = untyped(scratch, inode);
        note_touched(ScratchId::of(scratch), tag.session, key, inode, op);
    });
}

/// Whether a victim has this inode already: each replica of a program sees it
/// (`replica`), and a file system can change it twice.
#[inline(always)]
fn is_seen(known: *mut Foreseen, seen: u32, inode: Inode) -> bool {
    let mut index = 0;
    while index < VICTIMS as u64 {
        if index >= u64::from(seen) {
            return false;
        }
        // SAFETY: `known` is in a map value.
        if unsafe { (*at(known, index)).inode } == inode.address() {
            return true;
        }
        index += 1;
    }
    false
}

global! {
    fn note_touched(
        area: ScratchId as scratch,
        session: SessionNumber,
        key: OperationKey,
        inode: Inode,
        op: u32,
    ) {
        let known = foreseen(scratch);
        // SAFETY: `before` is a map value, checked not null; `known` is in one.
        unsafe {
            match maps::FORESEEN.get_ptr(&key) {
                Some(before) if (*before).op == op => *known = *before,
                _ => {
                    begin(scratch, Op::None);
                    (*known).op = op;
                }
            }
        }
        let dentry = inode.newest_name();
        if dentry.is_none() {
            // An inode without a name is being made.
            // SAFETY: `known` is in a map value.
            unsafe { (*known).made = inode.address() };
        } else {
            // SAFETY: `known` is in a map value.
            let seen = unsafe { (*known).seen };
            if seen >= VICTIMS as u32 || is_seen(known, seen, inode) {
                return;
            }
            let victim = look(scratch, session, dentry, u64::from(seen));
            // SAFETY: `known` and `victim` are in a map value.
            unsafe {
                (*victim).inode = inode.address();
                (*known).seen = seen + 1;
            }
        }
        keep(scratch, key);
    }
}
