//! Judges what an operation on names destroyed, after its end: which of the
//! objects that were seen before are gone, replaced or moved.
//!
//! Not here: how the objects are seen (`pre_op`), and what a loss leads to (`budget`).

use agent_recorder_abi::criteria::{FILE_REMOVED, FILE_REPLACED, FILE_REWRITTEN, MOVED_OUT};
use agent_recorder_abi::event::{
    COUNTED_REMOVED, COUNTED_REPLACED, Op, REPLACED_SOMETHING, REPLACED_UNKNOWN,
};
use agent_recorder_abi::policy::{
    JUDGED_CREATED, JUDGED_NAMED, JUDGED_REPLACED, KNOWN_CREATED, VICTIMS,
};

use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::operation::OperationKey;
use crate::guard::criteria;
use crate::guard::foreseen::{INDEX, at, foreseen};
use crate::guard::judge::report_victim;
use crate::guard::ownership::{self, judge};
use crate::guard::pre_op::{
    LOSS_LATER, LOSS_NONE, LOSS_REWRITTEN, is_making, leaves_protection, look, loss_by_replacing,
    moved, remember, rewritten_by, stands_for,
};
use crate::kernel::read::{bound, hooks};
use crate::kernel::types::{Dentry, Inode};

/// Settles an operation on names, in two steps, one after the other: nested,
/// they exceed the stack that all calls share (512 bytes).
#[inline(always)]
pub(crate) fn settle(call: &Call, key: OperationKey, op: u32, succeeded: u32) {
    settle_foreseen(call, key, op, succeeded);
    // SAFETY: `call.scratch` is a map value.
    let op = unsafe { core::ptr::read_volatile(&raw const (*foreseen(call.scratch)).op) };
    if op == Op::Rename as u32 {
        settle_rename(call);
    } else if op == Op::Link as u32 {
        settle_link(call);
    } else if op != Op::None as u32 {
        settle_removal(call);
    }
}

global! {
    /// The first step: recalls what was seen of the operation. It leaves the operation's
    /// kind in the area where the second step has something to count, else `Op::None`.
    fn settle_foreseen(call: &Call, key: OperationKey, op: u32, succeeded: u32) {
        let session = call.tag.session;
        let known = foreseen(call.scratch);
        // SAFETY: `kept` is a map value, checked not null; `known` is in one.
        let is_foreseen = unsafe {
            match maps::FORESEEN.get_ptr(&key) {
                Some(kept) => {
                    *known = *kept;
                    (*known).op == op
                }
                None => false,
            }
        };
        let _ = maps::FORESEEN.remove(&key);
        // SAFETY: `known` is in a map value.
        unsafe { (*known).op = Op::None as u32 };
        if !is_foreseen {
            // No hook showed the object.
            if succeeded != 0
                && op == Op::Delete as u32
                && criteria::counts_unseen(FILE_REMOVED, call.tag.restores)
            {
                criteria::count(FILE_REMOVED, session, 0, 0);
            }
            return;
        }
        // SAFETY: `known` is in a map value.
        let (counted, made) = unsafe { ((*known).counted, (*known).made) };
        if counted != 0 {
            let victim = at(known, 0);
            if succeeded == 0 {
                let criterion = criteria::of_removal(op == Op::Rmdir as u32);
                // SAFETY: `victim` is in a map value.
                let (judged, bytes) = unsafe { ((*victim).judged, (*victim).bytes) };
                criteria::take_back(criterion, session, judged, bytes);
            } else {
                remember(session, victim);
            }
            return;
        }
        if succeeded == 0 {
            return;
        }
        // An inode that a removal makes is an overlay's whiteout.
        if made != 0 && (hooks().see != 0 || is_making(op)) {
            let inode = if hooks().see != 0 { Dentry::at(made).inode() } else { Inode::at(made) };
            if !inode.is_none() {
                ownership::note(session, inode, KNOWN_CREATED);
            }
        }
        // SAFETY: `known` is in a map value.
        unsafe { (*known).op = op };
    }
}

/// Whether an operation that succeeded left an inode without a name.
#[inline(always)]
fn is_gone(inode: Inode, judged: u64) -> bool {
    !inode.is_none() && (hooks().see != 0 || inode.links() == 0) && judged & JUDGED_NAMED == 0
}

/// The index of no victim.
const NOBODY: u64 = VICTIMS as u64;

global! {
    /// A removal takes one name, so several inodes that are gone are one file: an overlay's, and
    /// that of its upper layer. The overlay's is the one that the session is known to have made.
    fn settle_removal(call: &Call) {
        let known = foreseen(call.scratch);
        // SAFETY: `known` is in a map value.
        let (made, op) = unsafe { (Inode::at((*known).made), (*known).op) };
        let is_hidden = hooks().see == 0 && op == Op::Delete as u32;
        let mut whiteout = if is_hidden && made.is_character_device() { made } else { Inode::NONE };
        let criterion = criteria::of_removal(op == Op::Rmdir as u32);
        let mut first = NOBODY;
        let mut index = 0;
        while index < VICTIMS as u64 {
            let victim = at(known, index);
            // SAFETY: `known` and `victim` are in a map value.
            let (seen, inode, judged) =
                unsafe { ((*known).seen, Inode::at((*victim).inode), (*victim).judged) };
            if index >= u64::from(seen) {
                break;
            }
            if is_gone(inode, judged) {
                if judged & JUDGED_CREATED != 0 {
                    return;
                }
                if first == NOBODY {
                    first = index;
                }
            } else if is_hidden && inode.is_character_device() {
                whiteout = inode;
            }
            index += 1;
        }
        if first == NOBODY {
            // SAFETY: `known` is in a map value.
            let seen = unsafe { (*known).seen };
            if !whiteout.is_none() {
                settle_whiteout(call, whiteout);
            } else if is_hidden && seen == 0 {
                settle_nameless(call, made);
            }
            return;
        }
        let victim = at(known, first);
        // SAFETY: `victim` is in a map value.
        let (judged, bytes) = unsafe { ((*victim).judged, (*victim).bytes) };
        if !criteria::counts(criterion, judged, call.tag.restores) {
            return;
        }
        if judged & JUDGED_REPLACED != 0 {
            criteria::count(FILE_REWRITTEN, call.tag.session, 0, 0);
            return;
        }
        remember(call.tag.session, victim);
        // SAFETY: as above.
        let dentry = Dentry::at(unsafe { (*victim).dentry });
        report_victim(call.area(), call.tag.session, first, dentry, COUNTED_REMOVED);
        criteria::count(criterion, call.tag.session, judged, bytes);
    }
}

/// Judges a file of a file system that changes no time when a name goes (FUSE). Its inode
/// passed the hook on inode times alone when the call read it in, before the inode had a
/// name in memory; so the directories above it are unknown.
#[inline(always)]
fn settle_nameless(call: &Call, inode: Inode) {
    let session = call.tag.session;
    if is_gone(inode, 0)
        && !ownership::is_created(session, inode)
        && criteria::counts(FILE_REMOVED, 0, call.tag.restores)
    {
        criteria::count(FILE_REMOVED, session, 0, inode.allocated());
    }
}

/// Judges a file of an overlay's lower layer by the whiteout that hides it: a
/// device with the file's name in the upper layer. No hook shows the file itself.
#[inline(always)]
fn settle_whiteout(call: &Call, inode: Inode) {
    let dentry = inode.newest_name();
    if dentry.is_none() {
        return;
    }
    let judged = judge(call.area(), call.tag.session, dentry);
    if criteria::counts(FILE_REMOVED, judged, call.tag.restores) {
        criteria::count(FILE_REMOVED, call.tag.session, judged, 0);
    }
}

global! {
    /// The newest of a file's names is the one that the link gave it.
    fn settle_link(call: &Call) {
        let victim = at(foreseen(call.scratch), 0);
        // SAFETY: `victim` is in a map value.
        let (inode, judged) = unsafe { (Inode::at((*victim).inode), (*victim).judged) };
        let dentry = inode.newest_name();
        if !dentry.is_none() {
            let now = judge(call.area(), call.tag.session, dentry);
            moved(call.tag.session, inode, judged, now, true);
        }
    }
}

global! {
    /// Whether the rename of this key, which succeeded, replaced a file (`REPLACED_…`):
    /// one of the inodes that were seen has lost its last name. A replaced file that
    /// keeps another name is unknown, and so is one that no hook showed.
    pub(crate) fn replaced_by_rename(key: OperationKey) -> u64 {
        let Some(known) = maps::FORESEEN.get_ptr_mut(&key) else {
            return u64::from(REPLACED_UNKNOWN);
        };
        // SAFETY: `known` is a map value, checked not null; `at` masks the index.
        unsafe {
            if (*known).op != Op::Rename as u32 {
                return u64::from(REPLACED_UNKNOWN);
            }
            let mut index = 0;
            while index < VICTIMS as u64 {
                if index >= u64::from((*known).seen) {
                    break;
                }
                let inode = Inode::at((*at(known, index)).inode);
                if !inode.is_none() && inode.links() == 0 {
                    return u64::from(REPLACED_SOMETHING);
                }
                index += 1;
            }
        }
        u64::from(REPLACED_UNKNOWN)
    }
}

/// Observes what a rename put in the place of a file, where the kernel skipped the
/// program that would have seen it before (`replica`): the newest of the directory's
/// children, if it has the file's name. Returns the index of its victim.
///
/// The index is `NOBODY` if another task has made something in the directory since.
#[inline(always)]
fn look_at_successor(call: &Call, replaced: u64) -> u64 {
    let victim = at(foreseen(call.scratch), replaced);
    // SAFETY: `victim` is in a map value.
    let (inode, parent, name) = unsafe {
        (
            Inode::at((*victim).inode),
            Dentry::at((*victim).parent),
            (*victim).name,
        )
    };
    let dentry = parent.newest_child();
    if dentry.is_none() || inode.is_directory() {
        return NOBODY;
    }
    if dentry.name_hash() != name {
        return NOBODY;
    }
    let index = bound::<INDEX>(replaced + 1);
    look(call.scratch, call.tag.session, dentry, index);
    index
}

global! {
    /// Among the inodes seen, one without a name was replaced, and one with a new name was moved.
    fn settle_rename(call: &Call) {
        let known = foreseen(call.scratch);
        let session = call.tag.session;
        let (mut moving, mut replaced, mut named) = (NOBODY, NOBODY, NOBODY);
        let mut index = 0;
        while index < VICTIMS as u64 {
            let victim = at(known, index);
            // SAFETY: `known` and `victim` are in a map value.
            let (seen, inode, dentry, parent, name, judged) = unsafe {
                (
                    (*known).seen,
                    Inode::at((*victim).inode),
                    Dentry::at((*victim).dentry),
                    Dentry::at((*victim).parent),
                    (*victim).name,
                    (*victim).judged,
                )
            };
            if index >= u64::from(seen) {
                break;
            }
            if inode.links() == 0 {
                replaced = index;
            } else if dentry.parent() != parent
                || dentry.name_hash() != name
            {
                moving = index;
            } else if !inode.is_directory() {
                // ext4 drops the link before it changes the times, other file
                // systems after: only now is it known that a link is left.
                // SAFETY: `victim` is in a map value.
                unsafe { (*victim).judged = judged | JUDGED_NAMED };
                named = index;
            }
            index += 1;
        }
        if moving == NOBODY && replaced != NOBODY {
            moving = look_at_successor(call, replaced);
        }
        let source = at(known, moving);
        let target = at(known, if replaced == NOBODY { named } else { replaced });
        if moving != NOBODY {
            // SAFETY: `source` is in a map value.
            let (inode, dentry, parent, was) = unsafe {
                (
                    Inode::at((*source).inode),
                    Dentry::at((*source).dentry),
                    Dentry::at((*source).parent),
                    (*source).judged,
                )
            };
            let now = judge(call.area(), session, dentry);
            moved(session, inode, was, now, dentry.parent() != parent);
            if leaves_protection(was, now) {
                criteria::count(MOVED_OUT, session, was, 0);
            }
        }
        // SAFETY: `target` is in a map value.
        let (inode, judged, bytes) =
            unsafe { (Inode::at((*target).inode), (*target).judged, (*target).bytes) };
        if replaced == NOBODY && (named == NOBODY || moving == NOBODY)
            || inode.is_directory()
            || criteria::is_restored(FILE_REPLACED, judged, call.tag.restores)
        {
            return;
        }
        match loss_by_replacing(source, target) {
            LOSS_LATER if moving != NOBODY => {
                // SAFETY: `source` is in a map value.
                let by = Inode::at(unsafe { (*source).inode });
                stands_for(session, by, inode);
            }
            LOSS_REWRITTEN if moving != NOBODY => {
                // SAFETY: `source` is in a map value.
                let by = Inode::at(unsafe { (*source).inode });
                rewritten_by(session, by);
            }
            LOSS_NONE | LOSS_LATER => {}
            _ => {
                let index = if replaced == NOBODY { named } else { replaced };
                // The moved object has the name now.
                // SAFETY: `source` and `target` are in a map value.
                let dentry = Dentry::at(unsafe {
                    (*if moving == NOBODY { target } else { source }).dentry
                });
                report_victim(call.area(), session, index, dentry, COUNTED_REPLACED);
                criteria::count(FILE_REPLACED, session, judged, bytes);
            }
        }
    }
}
