//! What an operation on names is about to destroy, seen before or while it
//! happens, and counted: before the act where the guard refuses, otherwise
//! when it has succeeded.
//!
//! Two ways to see the object: security hooks are given it; without them, the
//! tracepoints of inode times (6.13) pass every inode that an operation
//! changes, and its result tells which of those are gone.

use agent_recorder_abi::event::Op;
use agent_recorder_abi::limits::KEPT_PART;
use agent_recorder_abi::policy::{
    Foreseen, JUDGED_ABOVE, JUDGED_CREATED, JUDGED_FREE, JUDGED_NAMED, JUDGED_PROTECTED,
    JUDGED_SLOT, KNOWN_CREATED, KNOWN_FOREIGN, KNOWN_FREED, Removed, RemovedKey, VICTIMS, Victim,
};
use agent_recorder_abi::state::SessionNumber;
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::call::{Call, global};
use crate::emit::{Scratch, number_of, with_area};
use crate::judge::{self, judge};
use crate::kernel::{bound, current, hooks, offset, read};
use crate::{guard, maps, task, uring};

/// One sector, in which `i_blocks` counts (include/linux/fs.h).
const SECTOR_SHIFT: u32 = 9;
/// Protected place and slot of a judgement.
const PLACE: u64 = JUDGED_PROTECTED | 0xff << JUDGED_SLOT;

/// Names an operation of the running thread that is no request of io_uring.
#[inline(always)]
pub(crate) fn of_thread() -> u64 {
    bpf_get_current_pid_tgid()
}

#[inline(always)]
fn foreseen(scratch: *mut Scratch) -> *mut Foreseen {
    // SAFETY: a field of a map value.
    unsafe { &raw mut (*scratch).foreseen }
}

/// Begins what is known of an operation.
#[inline(always)]
fn begin(scratch: *mut Scratch, op: Op) -> *mut Foreseen {
    let known = foreseen(scratch);
    // SAFETY: as above.
    unsafe {
        (*known).op = op as u32;
        (*known).counted = 0;
        (*known).seen = 0;
        (*known).made = 0;
    }
    known
}

#[inline(always)]
fn keep(scratch: *mut Scratch, key: u64) {
    // SAFETY: as above. LRU: fails only without memory; what goes unseen counts in full.
    let _ = maps::FORESEEN.insert(&key, unsafe { &*foreseen(scratch) }, 0);
}

const INDEX: u64 = VICTIMS as u64 - 1;
const _: () = assert!(VICTIMS.is_power_of_two());

/// One of the victims. In the area and not on the stack, which has no room for several.
#[inline(always)]
fn at(known: *mut Foreseen, index: u64) -> *mut Victim {
    // SAFETY: the mask keeps the index inside the array of a map value.
    unsafe {
        (&raw mut (*known).victims)
            .cast::<Victim>()
            .add(bound::<INDEX>(index) as usize)
    }
}

/// Looks at the object at a dentry.
#[inline(always)]
fn look(scratch: *mut Scratch, session: SessionNumber, dentry: u64, index: u64) -> *mut Victim {
    look_at_victim(judge::area_of(scratch), session, dentry, index);
    at(foreseen(scratch), index)
}

/// A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_at_victim(area: u32, session: SessionNumber, dentry: u64, index: u64) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    let mut judged = judge(area, session, dentry);
    let inode: u64 = read(dentry, offset!(dentry_inode));
    if inode != 0 && !judge::is_directory(inode) && read::<u32>(inode, offset!(inode_nlink)) > 1 {
        judged |= JUDGED_NAMED;
    }
    let victim = at(foreseen(scratch), index);
    // SAFETY: in a map value.
    unsafe {
        (*victim).inode = inode;
        (*victim).dentry = dentry;
        (*victim).parent = read(dentry, offset!(dentry_parent));
        (*victim).name = read(dentry, offset!(dentry_name_hash));
        (*victim).bytes = read::<u64>(inode, offset!(inode_blocks)) << SECTOR_SHIFT;
        (*victim).size = read(inode, offset!(inode_size));
        (*victim).judged = judged;
    }
    0
}

/// A hook was given a name that is to be removed. A global function (see
/// `call`): 0 refuses.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn foresee_removal(
    area: u32,
    session: SessionNumber,
    key: u64,
    dentry: u64,
    restores: u32,
) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 1;
    };
    let inode: u64 = read(dentry, offset!(dentry_inode));
    let op = if judge::is_directory(inode) {
        Op::Rmdir
    } else {
        Op::Delete
    };
    let known = begin(scratch, op);
    let victim = look(scratch, session, dentry, 0);
    // SAFETY: in a map value.
    let (judged, bytes) = unsafe {
        if restores != 0 && (*victim).judged & JUDGED_PROTECTED == 0 {
            (*victim).judged |= JUDGED_FREE;
        }
        ((*victim).judged, (*victim).bytes)
    };
    let counts = hooks().refuse != 0 && judged & (JUDGED_FREE | JUDGED_NAMED) == 0;
    if counts && guard::admit(session, judged, bytes) == 0 {
        return 0;
    }
    // SAFETY: a field of a map value.
    unsafe {
        (*known).seen = 1;
        (*known).counted = u32::from(counts);
    }
    keep(scratch, key);
    1
}

/// A hook was given the names of a rename, or of a link. A global function
/// (see `call`): 0 refuses.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn foresee_move(
    area: u32,
    session: SessionNumber,
    old: u64,
    new: u64,
    operation: u64,
) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 1;
    };
    let source = look(scratch, session, old, 0);
    let target = look(scratch, session, new, 1);
    // SAFETY: in a map value.
    let (inode, was, is) = unsafe { ((*source).inode, (*source).judged, (*target).judged) };
    moved(session, inode, was, is);
    if operation & MOVE_REPLACES == 0 {
        return 1;
    }
    if leaves_protection(was, is)
        && hooks().refuse != 0
        && guard::admit(session, was | JUDGED_PROTECTED, 0) == 0
    {
        return 0;
    }
    // SAFETY: as above.
    let (replaced, bytes) = unsafe { ((*target).inode, (*target).bytes) };
    if replaced == 0 || replaced == inode || operation & MOVE_RESTORES != 0 {
        return 1;
    }
    let loss = loss_by_replacing(source, target);
    if loss == LOSS_REWRITTEN {
        rewritten_by(session, inode);
    }
    if loss != LOSS_WHOLE {
        return 1;
    }
    if hooks().refuse != 0 {
        return guard::admit(session, is, bytes);
    }
    guard::count_destroyed(session, is, bytes);
    1
}

/// In what `foresee_move` is told of the operation: the second name is taken from what had it.
pub(crate) const MOVE_REPLACES: u64 = 1;
/// See `policy::PROGRAM_RESTORES`.
pub(crate) const MOVE_RESTORES: u64 = 2;

/// Notes what a move means for the judging of the object from now on.
#[inline(always)]
fn moved(session: SessionNumber, inode: u64, old: u64, new: u64) {
    if old & JUDGED_CREATED != 0 {
        return;
    }
    if old & JUDGED_FREE == 0 && new & JUDGED_FREE != 0 {
        judge::note(session, inode, KNOWN_FOREIGN);
    }
    if old & JUDGED_FREE != 0 && new & JUDGED_FREE == 0 {
        judge::note(session, inode, KNOWN_FREED);
    }
}

/// Whether a move takes something out of a protected path, or one away as a whole.
#[inline(always)]
fn leaves_protection(old: u64, new: u64) -> bool {
    old & JUDGED_ABOVE != 0
        || old & JUDGED_PROTECTED != 0 && old & JUDGED_CREATED == 0 && old & PLACE != new & PLACE
}

const LOSS_NONE: u32 = 0;
const LOSS_REWRITTEN: u32 = 1;
const LOSS_WHOLE: u32 = 2;

/// What goes with a file that another takes the name of. An editor or a
/// formatter puts what it has just written, and about as much, in its place.
#[inline(always)]
fn loss_by_replacing(source: *const Victim, target: *const Victim) -> u32 {
    // SAFETY: in a map value.
    let (kept, had, by, judged) = unsafe {
        (
            (*source).size * KEPT_PART,
            (*target).size,
            (*source).judged,
            (*target).judged,
        )
    };
    if judged & (JUDGED_FREE | JUDGED_NAMED) != 0 {
        LOSS_NONE
    } else if by & JUDGED_CREATED != 0 && kept >= had {
        LOSS_REWRITTEN
    } else {
        LOSS_WHOLE
    }
}

/// What a session made has the name of somebody else's file, and stands for it from now on.
#[inline(always)]
fn rewritten_by(session: SessionNumber, by: u64) {
    judge::disown(session, by);
    guard::rewritten(session);
}

/// Which name a file was taken from that counted. A new one there can take its place.
#[inline(always)]
fn remember(session: SessionNumber, victim: *const Victim) {
    // SAFETY: in a map value.
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
            },
        )
    };
    // LRU: fails only without memory; then the removal counts, whatever follows.
    let _ = maps::REMOVED.insert(&key, &removed, 0);
}

/// A hook was given the name of what is to be made. A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn foresee_making(area: u32, key: u64, dentry: u64, op: u32) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    let known = begin(scratch, Op::Mkdir);
    // SAFETY: a field of a map value.
    unsafe {
        (*known).op = op;
        (*known).made = dentry;
    }
    keep(scratch, key);
    0
}

/// A hook was given a file whose contents are to be cut. A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn foresee_cut(
    area: u32,
    session: SessionNumber,
    key: u64,
    dentry: u64,
) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    let known = begin(scratch, Op::Truncate);
    look(scratch, session, dentry, 0);
    // SAFETY: a field of a map value.
    unsafe { (*known).seen = 1 };
    keep(scratch, key);
    0
}

#[inline(always)]
fn is_making(op: u32) -> bool {
    op == Op::Mkdir as u32 || op == Op::Symlink as u32 || op == Op::Create as u32
}

/// An inode's times change. In a session, in the middle of an operation on
/// names, it is one that the operation is about.
#[inline(always)]
pub(crate) fn touched(inode: u64) {
    let this = current();
    let Some(tag) = task::tag_of(this) else {
        return;
    };
    let (op, key) = uring::operation_of(this, tag);
    let is_directory = judge::is_directory(inode);
    let matters = is_making(op)
        || (op == Op::Delete as u32 || op == Op::Truncate as u32 || op == Op::Link as u32)
            && !is_directory
        || op == Op::Rmdir as u32 && is_directory
        || op == Op::Rename as u32;
    if !matters {
        return;
    }
    with_area!(|scratch| {
        let inode = number_of(scratch, inode);
        // SAFETY: a field of a map value.
        let area = unsafe { (*scratch).index };
        note_touched(area, tag.session, key, inode, op);
    });
}

/// A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note_touched(
    area: u32,
    session: SessionNumber,
    key: u64,
    inode: u64,
    op: u32,
) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    let known = foreseen(scratch);
    // SAFETY: fields of map values.
    unsafe {
        match maps::FORESEEN.get_ptr(&key) {
            Some(before) if (*before).op == op => *known = *before,
            _ => {
                begin(scratch, Op::None);
                (*known).op = op;
            }
        }
    }
    let alias: u64 = read(inode, offset!(inode_aliases));
    if alias == 0 {
        // Of no name yet: it is being made.
        // SAFETY: as above.
        unsafe { (*known).made = inode };
    } else {
        let dentry = alias - offset!(dentry_alias) as u64;
        // SAFETY: as above.
        let (seen, newest) = unsafe { ((*known).seen, (*at(known, 0)).inode) };
        if seen >= VICTIMS as u32 || seen > 0 && newest == inode {
            return 0;
        }
        let victim = look(scratch, session, dentry, u64::from(seen));
        // SAFETY: as above.
        unsafe {
            (*victim).inode = inode;
            (*known).seen = seen + 1;
        }
    }
    keep(scratch, key);
    0
}

/// An operation on names is over. In two steps, one after the other and not
/// one inside the other: the stack that calls share (512 bytes) has no room for both.
#[inline(always)]
pub(crate) fn settle(call: &Call, key: u64, op: u32, succeeded: u32) {
    settle_foreseen(call, key, op, succeeded);
    // SAFETY: a field of a map value.
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
    /// The first step: recalls what was seen of the operation. Its kind stays
    /// in the area where the second has something to count, and is none otherwise.
    fn settle_foreseen(call: &Call, key: u64, op: u32, succeeded: u32) {
        let session = call.tag.session;
        let known = foreseen(call.scratch);
        // SAFETY: map values.
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
        // SAFETY: a field of a map value.
        unsafe { (*known).op = Op::None as u32 };
        if !is_foreseen {
            // Nobody saw what it was.
            if succeeded != 0 && op == Op::Delete as u32 && call.tag.restores == 0 {
                guard::count_destroyed(session, 0, 0);
            }
            return;
        }
        // SAFETY: as above.
        let (counted, made) = unsafe { ((*known).counted, (*known).made) };
        if counted != 0 {
            let victim = at(known, 0);
            if succeeded == 0 {
                // SAFETY: as above.
                unsafe { guard::failed(session, (*victim).judged, (*victim).bytes) };
            } else {
                remember(session, victim);
            }
            return;
        }
        if succeeded == 0 {
            return;
        }
        // What a removal makes is an overlay's whiteout.
        if made != 0 && (hooks().see != 0 || is_making(op)) {
            let inode = if hooks().see != 0 { read(made, offset!(dentry_inode)) } else { made };
            if inode != 0 {
                judge::note(session, inode, KNOWN_CREATED);
            }
        }
        // SAFETY: as above.
        unsafe { (*known).op = op };
    }
}

/// Whether an operation that succeeded left an inode without a name.
#[inline(always)]
fn is_gone(inode: u64, judged: u64) -> bool {
    inode != 0
        && (hooks().see != 0 || read::<u32>(inode, offset!(inode_nlink)) == 0)
        && judged & JUDGED_NAMED == 0
}

/// What was removed counts, as far as a removal's victims tell.
const UNKNOWN: u32 = 0;
const FREE: u32 = 1;
const COUNTS: u32 = 2;

global! {
    /// A removal takes one name: several that are gone are one file, as an
    /// overlay and its upper layer have it, and the overlay's is the one that
    /// the session is known to have made.
    fn settle_removal(call: &Call) {
        let known = foreseen(call.scratch);
        // SAFETY: fields of a map value.
        let (made, op) = unsafe { ((*known).made, (*known).op) };
        let is_hidden = hooks().see == 0 && op == Op::Delete as u32;
        let mut whiteout = if is_hidden && judge::is_character_device(made) { made } else { 0 };
        let (mut found, mut first) = (UNKNOWN, 0);
        let mut index = 0;
        while index < VICTIMS as u64 {
            let victim = at(known, index);
            // SAFETY: fields of a map value.
            let (seen, inode, judged) =
                unsafe { ((*known).seen, (*victim).inode, (*victim).judged) };
            if index >= u64::from(seen) {
                break;
            }
            if is_gone(inode, judged) {
                let restores = call.tag.restores != 0 && judged & JUDGED_PROTECTED == 0;
                if judged & JUDGED_CREATED != 0 {
                    return;
                }
                if found == UNKNOWN {
                    found = if judged & JUDGED_FREE == 0 && !restores { COUNTS } else { FREE };
                    first = index;
                }
            } else if is_hidden && judge::is_character_device(inode) {
                whiteout = inode;
            }
            index += 1;
        }
        if found == COUNTS {
            let victim = at(known, first);
            // SAFETY: as above.
            let (judged, bytes) = unsafe { ((*victim).judged, (*victim).bytes) };
            remember(call.tag.session, victim);
            guard::count_destroyed(call.tag.session, judged, bytes);
        } else if found == UNKNOWN && whiteout != 0 {
            settle_whiteout(call, whiteout);
        }
    }
}

/// An overlay hides a file of its lower layer behind a device that has the
/// file's name in the upper one, where it is judged: nothing tells of the file itself.
#[inline(always)]
fn settle_whiteout(call: &Call, inode: u64) {
    let alias: u64 = read(inode, offset!(inode_aliases));
    if alias == 0 {
        return;
    }
    let dentry = alias - offset!(dentry_alias) as u64;
    let judged = judge(call.area(), call.tag.session, dentry);
    let restores = call.tag.restores != 0 && judged & JUDGED_PROTECTED == 0;
    if judged & JUDGED_FREE == 0 && !restores {
        guard::count_destroyed(call.tag.session, judged, 0);
    }
}

global! {
    /// The newest of a file's names is the one it was given (`hlist_add_head()` in `__d_instantiate()`).
    fn settle_link(call: &Call) {
        let victim = at(foreseen(call.scratch), 0);
        // SAFETY: in a map value.
        let (inode, judged) = unsafe { ((*victim).inode, (*victim).judged) };
        let alias: u64 = read(inode, offset!(inode_aliases));
        if alias != 0 {
            let dentry = alias - offset!(dentry_alias) as u64;
            let now = judge(call.area(), call.tag.session, dentry);
            moved(call.tag.session, inode, judged, now);
        }
    }
}

/// No victim.
const NOBODY: u64 = VICTIMS as u64;

global! {
    /// Of what the rename touched, the file that is gone was replaced, and what has another name now was moved.
    fn settle_rename(call: &Call) {
        let known = foreseen(call.scratch);
        let session = call.tag.session;
        let (mut moving, mut replaced) = (NOBODY, NOBODY);
        let mut index = 0;
        while index < VICTIMS as u64 {
            let victim = at(known, index);
            // SAFETY: fields of a map value.
            let (seen, inode, dentry, parent, name) = unsafe {
                (
                    (*known).seen,
                    (*victim).inode,
                    (*victim).dentry,
                    (*victim).parent,
                    (*victim).name,
                )
            };
            if index >= u64::from(seen) {
                break;
            }
            if read::<u32>(inode, offset!(inode_nlink)) == 0 {
                replaced = index;
            } else if read::<u64>(dentry, offset!(dentry_parent)) != parent
                || read::<u64>(dentry, offset!(dentry_name_hash)) != name
            {
                moving = index;
            }
            index += 1;
        }
        let (source, target) = (at(known, moving), at(known, replaced));
        if moving != NOBODY {
            // SAFETY: as above.
            let (inode, dentry, was) =
                unsafe { ((*source).inode, (*source).dentry, (*source).judged) };
            let now = judge(call.area(), session, dentry);
            moved(session, inode, was, now);
            if leaves_protection(was, now) {
                guard::count_destroyed(session, was | JUDGED_PROTECTED, 0);
            }
        }
        // SAFETY: as above.
        let (inode, judged, bytes) =
            unsafe { ((*target).inode, (*target).judged, (*target).bytes) };
        if replaced == NOBODY || judge::is_directory(inode) || call.tag.restores != 0 {
            return;
        }
        match loss_by_replacing(source, target) {
            LOSS_REWRITTEN if moving != NOBODY => {
                // SAFETY: as above.
                let by = unsafe { (*source).inode };
                rewritten_by(session, by);
            }
            LOSS_NONE => {}
            _ => {
                guard::count_destroyed(session, judged, bytes);
            }
        }
    }
}
