//! Whether something may be thrown away: judged on the object itself, by what
//! the session did to it and by the directories that it really is in.
//!
//! The walk goes from parent to parent inside the file system. Names that
//! lead there (`..`, links, bind mounts, `/proc/self/root`) change nothing.
//! Not here: what follows from the answer (`pre_op`, `budget`).

use agent_recorder_abi::limits::{COMPONENT_BYTES, NAME_KEY_BYTES, SUFFIX_BYTES, WALKED_LEVELS};
use agent_recorder_abi::policy::{
    JUDGED_ABOVE, JUDGED_CREATED, JUDGED_FREE, JUDGED_LIMIT, JUDGED_PROTECTED, JUDGED_REPLACED,
    JUDGED_SLOT, KNOWN_CREATED, KNOWN_FOREIGN, KNOWN_FREED, KNOWN_REPLACED, KnownKey, NAME_BELOW,
    NAME_DIRECTORY, NAME_JUDGED, NAME_PARENT, NAME_SUFFIX, NameKey, PLACE_ABOVE, PLACE_PROTECTED,
    PLACE_TEMPORARY, SparedKey,
};
use agent_recorder_abi::state::SessionNumber;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;

use crate::context::areas::repeated;
use crate::context::call::global;
use crate::context::maps;
use crate::context::scratch::OwnershipWalk;
use crate::guard::judge::lives;
use crate::kernel::read::bound;
use crate::kernel::types::{Dentry, Inode};

/// The inode's key.
#[inline(always)]
pub(crate) fn key_of(session: SessionNumber, inode: Inode) -> KnownKey {
    KnownKey {
        session,
        ino: inode.number(),
        dev: inode.device(),
        generation: inode.generation(),
    }
}

/// What the session is known to have done to an inode: `KNOWN_…`.
#[inline(always)]
fn known(session: SessionNumber, inode: Inode) -> u32 {
    // SAFETY: the value is copied at once.
    unsafe { maps::KNOWN.get(&key_of(session, inode)).copied() }.unwrap_or(0)
}

/// Whether the session created an inode.
#[inline(always)]
pub(crate) fn is_created(session: SessionNumber, inode: Inode) -> bool {
    known(session, inode) & KNOWN_CREATED != 0
}

global! {
    /// Notes what the session did to an inode, beside what is known of it.
    pub(crate) fn note(session: SessionNumber, inode: Inode, what: u32) {
        let key = key_of(session, inode);
        // SAFETY: the value is copied at once.
        let before = unsafe { maps::KNOWN.get(&key).copied() }.unwrap_or(0);
        // LRU: fails only without memory; the inode then counts as not made by the session.
        let _ = maps::KNOWN.insert(&key, &(before | what), 0);
    }
}

global! {
    /// A file of the session's now stands for one that it did not make, and is judged as that one.
    pub(crate) fn disown(session: SessionNumber, inode: Inode) {
        // An entry that the LRU has dropped counts as not made by the session already.
        let _ = maps::KNOWN.remove(&key_of(session, inode));
    }
}

global! {
    /// `JUDGED_…` of the object at a dentry, which may be a name that nothing has
    /// yet.
    pub(crate) fn judge(
        area: ScratchId as scratch,
        session: SessionNumber,
        dentry: Dentry,
    ) -> u64 [else 0] {
        // SAFETY: a field of a map value.
        let inquiry = unsafe { &mut (*scratch).inquiry };
        inquiry.session = session;
        inquiry.dentry = dentry;
        inquiry.foreign = 0;
        inquiry.verdict = 0;
        inquiry.spares = u64::from(has_spared(session));
        inquiry.judge = u64::from(lives());
        ascend(scratch, WALKED_LEVELS);
        // SAFETY: as above.
        let verdict = unsafe { core::ptr::read_volatile(&raw const (*scratch).inquiry.verdict) };
        if verdict & JUDGED_PROTECTED != 0 {
            verdict & !JUDGED_FREE
        } else {
            verdict
        }
    }
}

repeated! {
/// Goes up level by level.
fn ascend[ascend_level, ascend_levels](scratch, level) {
    // SAFETY: a field of a map value.
    let inquiry = unsafe { &mut (*scratch).inquiry };
    let dentry = inquiry.dentry;
    let inode = dentry.inode();
    if !inode.is_none() {
        let known = known(inquiry.session, inode);
        if level == 0 && known & KNOWN_CREATED != 0 {
            inquiry.verdict = JUDGED_CREATED | JUDGED_FREE;
            return 1;
        }
        if level == 0 && known & KNOWN_REPLACED != 0 {
            inquiry.verdict |= JUDGED_REPLACED;
        }
        if known & KNOWN_FOREIGN != 0 {
            inquiry.foreign = 1;
        } else if known & KNOWN_FREED != 0 && inquiry.foreign == 0 {
            inquiry.verdict |= JUDGED_FREE;
        }
        if inquiry.spares != 0 && inquiry.foreign == 0 && is_spared(inquiry.session, inode) {
            inquiry.verdict |= JUDGED_FREE;
        }
        if look_at_place(inquiry, inode, level) {
            return 1;
        }
    }
    let parent = dentry.parent();
    if inquiry.foreign == 0 && inquiry.verdict & JUDGED_FREE == 0 {
        look_at_name(inquiry, level, inode, parent);
    }
    if parent == dentry || parent.is_none() {
        return 1;
    }
    inquiry.dentry = parent;
    0
}
}

/// Whether the judge has spared any directory for the session.
#[inline(always)]
fn has_spared(session: SessionNumber) -> bool {
    maps::SESSIONS
        .get_ptr(&session)
        // SAFETY: a map value that the look-up found.
        .is_some_and(|session| unsafe {
            core::ptr::read_volatile(&raw const (*session).spares) != 0
        })
}

/// Whether the judge has spared what is below this directory.
#[inline(always)]
fn is_spared(session: SessionNumber, inode: Inode) -> bool {
    let key = SparedKey {
        session,
        ino: inode.number(),
        dev: inode.device(),
        spare: 0,
    };
    maps::SPARED.get_ptr(&key).is_some()
}

/// Whether the walk ends here.
#[inline(always)]
fn look_at_place(inquiry: &mut OwnershipWalk, inode: Inode, level: u64) -> bool {
    let key = inode.place_key();
    let Some(place) = maps::PLACES.get_ptr(&key) else {
        return false;
    };
    // SAFETY: a map value, checked not null.
    let (kind, slot, limit) = unsafe { ((*place).kind, (*place).slot, (*place).limit) };
    match kind {
        PLACE_TEMPORARY if inquiry.foreign == 0 => inquiry.verdict |= JUDGED_FREE,
        PLACE_ABOVE if level == 0 => inquiry.verdict |= JUDGED_ABOVE,
        PLACE_PROTECTED => {
            inquiry.verdict |= JUDGED_PROTECTED
                | u64::from(slot & 0xff) << JUDGED_SLOT
                | u64::from(limit) << JUDGED_LIMIT;
            return true;
        }
        _ => {}
    }
    false
}

#[inline(always)]
fn look_at_name(inquiry: &mut OwnershipWalk, level: u64, inode: Inode, parent: Dentry) {
    let dentry = inquiry.dentry;
    if level == 0 && !inode.is_none() && !inode.is_directory() {
        if has_suffix(inquiry, dentry) {
            inquiry.verdict |= JUDGED_FREE;
        }
        return;
    }
    let meaning = name_of(dentry, NAME_DIRECTORY);
    if meaning & NAME_JUDGED != 0 && inquiry.judge != 0 {
        return;
    }
    match meaning & !NAME_JUDGED {
        NAME_DIRECTORY => inquiry.verdict |= JUDGED_FREE,
        NAME_BELOW if name_of(parent, NAME_PARENT) == NAME_PARENT => {
            inquiry.verdict |= JUDGED_FREE;
        }
        _ => {}
    }
}

/// What the policy says of an object's name; 0: nothing.
#[inline(always)]
fn name_of(dentry: Dentry, kind: u32) -> u32 {
    let mut key = NameKey {
        kind,
        name: [0; NAME_KEY_BYTES],
    };
    let name = dentry.name();
    // SAFETY: the buffer has the size that is named. A longer name is cut, and is none that is known.
    unsafe {
        bpf_probe_read_kernel_str(
            key.name.as_mut_ptr().cast(),
            NAME_KEY_BYTES as u32,
            name as *const _,
        );
        maps::NAMES.get(&key).copied().unwrap_or(0)
    }
}

/// Whether a file's suffix is one that the policy knows.
#[inline(always)]
fn has_suffix(inquiry: &mut OwnershipWalk, dentry: Dentry) -> bool {
    let name = dentry.name();
    // SAFETY: the buffer has the size that is named.
    let length = unsafe {
        bpf_probe_read_kernel_str(
            inquiry.name.as_mut_ptr().cast(),
            COMPONENT_BYTES as u32,
            name as *const _,
        )
    };
    if length <= 1 {
        return false;
    }
    let end = length as u64 - 1;
    let mut back = 1;
    while back < SUFFIX_BYTES as u64 {
        if back > end {
            return false;
        }
        let at = bound::<{ COMPONENT_BYTES as u64 - 1 }>(end - back);
        // SAFETY: the mask keeps the position inside the name.
        let byte = unsafe { core::ptr::read_volatile(inquiry.name.as_ptr().add(at as usize)) };
        if byte == b'.' {
            return is_known_suffix(inquiry, at);
        }
        back += 1;
    }
    false
}

#[inline(always)]
fn is_known_suffix(inquiry: &OwnershipWalk, at: u64) -> bool {
    let mut key = NameKey {
        kind: NAME_SUFFIX,
        name: [0; NAME_KEY_BYTES],
    };
    let at = bound::<{ COMPONENT_BYTES as u64 - 1 }>(at);
    // SAFETY: kernel memory (a map value) from a position inside it, up to its terminator.
    unsafe {
        bpf_probe_read_kernel_str(
            key.name.as_mut_ptr().cast(),
            SUFFIX_BYTES as u32,
            inquiry.name.as_ptr().add(at as usize).cast(),
        );
        maps::NAMES.get(&key).is_some()
    }
}
