//! From a dentry to its path: names, leaf first, up to the mount namespace's root.
//!
//! As `prepend_path()` (fs/d_path.c) walks it, but past a chroot: what is
//! recorded is where the file is, not what the process calls it. Taken
//! without the rename lock: a directory that is renamed during the walk can
//! show a path that mixes both names.

use core::ptr;

use agent_recorder_abi::event::{FILE_SECOND_WALK_CUT, FILE_WALK_CUT, WALKED_DETACHED};
use agent_recorder_abi::limits::{COMPONENT_BYTES, WALKED_LEVELS, WALKED_PATH_BYTES};

use crate::context::areas::repeated;
use crate::context::call::global;
use crate::context::scratch::{NameWalk, POSITION, ScratchId};
use crate::event::writer::Writer;
use crate::kernel::counters::trouble;
use crate::kernel::read::bound;
use crate::kernel::types::{KernelPath, MountNode};

/// A path that was appended.
#[derive(Clone, Copy, Default)]
pub(crate) struct Walked {
    /// Bytes of its segment.
    pub(crate) len: u16,
    /// Bytes that had no room: those of the names nearest to the root. 1 where
    /// the walk ended before that, and they are not known.
    pub(crate) omitted: u32,
}

impl Walked {
    #[inline(always)]
    pub(crate) fn is_cut(self) -> bool {
        self.omitted != 0
    }

    /// The mark of a location that was cut.
    #[inline(always)]
    pub(crate) fn mark(self) -> u16 {
        if self.is_cut() { FILE_WALK_CUT } else { 0 }
    }

    /// The same of a second location.
    #[inline(always)]
    pub(crate) fn second_mark(self) -> u16 {
        if self.is_cut() {
            FILE_SECOND_WALK_CUT
        } else {
            0
        }
    }
}

/// Appends the path as one segment.
#[inline(always)]
pub(crate) fn append(writer: &mut Writer, path: KernelPath) -> Walked {
    let start = writer.position();
    if path.dentry.is_none() {
        return Walked::default();
    }
    // SAFETY: fields of a map value. Pointers that a hook got go through it, for a global function takes none.
    unsafe {
        (*writer.ascent()).mount = path.mount;
        (*writer.ascent()).dentry = path.dentry;
    }
    let area = ScratchId::of(writer.scratch());
    writer.move_to(bound::<POSITION>(append_walk(area, start)));
    // SAFETY: as above.
    let omitted = unsafe { ptr::read_volatile(&raw const (*writer.ascent()).omitted) };
    Walked {
        len: (writer.position() - start) as u16,
        omitted: omitted as u32,
    }
}

global! {
    /// Walks from the dentry and mount that `NameWalk` holds. Where the event ends
    /// then; `NameWalk::omitted` holds what had no room.
    fn append_walk(area: ScratchId as scratch, start: u64) -> u64 [else start] {
        let mut writer = Writer::resume(scratch, start);
        let ascent = writer.ascent();
        // SAFETY: a field of a map value.
        unsafe {
            let NameWalk { mount, dentry, .. } = *ascent;
            *ascent = NameWalk {
                at: start,
                end: start + (WALKED_PATH_BYTES - COMPONENT_BYTES) as u64,
                mount,
                dentry,
                leaf: dentry,
                root: mount.root(),
                omitted: 0,
                unfinished: 1,
            };
        }
        climb(scratch, WALKED_LEVELS);
        // SAFETY: as above.
        unsafe {
            writer.move_to(ptr::read_volatile(&raw const (*ascent).at));
            (*ascent).omitted |= ptr::read_volatile(&raw const (*ascent).unfinished);
            if (*ascent).omitted != 0 {
                trouble(agent_recorder_abi::event::Trouble::WalkCut);
            }
        }
        if writer.position() == start {
            writer.byte(0);
        }
        writer.position()
    }
}

/// `MNT_NS_ANON_INO` (include/uapi/linux/nsfs.h, 6.18), before that 0: the
/// namespace of a mount that was never attached.
const ANONYMOUS: [u32; 2] = [0, 0xeffffff7];

/// Whether a mount without a parent is in nobody's tree, and not the root of a
/// namespace: one that was taken off lazily (umount2(2)), or that open_tree(2) made.
#[inline(always)]
fn is_detached(mount: MountNode) -> bool {
    let namespace = mount.namespace();
    !namespace.is_internal() && (namespace.is_none() || ANONYMOUS.contains(&namespace.number()))
}

repeated! {
/// Goes up level by level.
fn climb[climb_level, climb_levels](scratch, _level) {
    // SAFETY: a field of a map value.
    let ascent = unsafe { &mut (*scratch).ascent };
    if ascent.dentry == ascent.root {
        let this = ascent.mount.node();
        let parent = this.parent();
        if parent == this || parent.is_none() {
            if is_detached(this) {
                let mut writer = Writer::resume(scratch, ascent.at);
                writer.byte(WALKED_DETACHED[0]);
                writer.byte(0);
                ascent.at = writer.position();
            }
            ascent.unfinished = 0;
            return 1;
        }
        ascent.dentry = this.mountpoint();
        ascent.mount = parent.mount();
        ascent.root = ascent.mount.root();
        return 0;
    }
    let mut writer = Writer::resume(scratch, ascent.at);
    let parent = ascent.dentry.parent();
    if parent == ascent.dentry || parent.is_none() {
        // A file of no directory (memfd, pipe) has a name all the same.
        if ascent.dentry == ascent.leaf {
            writer.component(ascent.dentry.name());
            ascent.at = writer.position();
        }
        ascent.unfinished = 0;
        return 1;
    }
    let before = writer.position();
    writer.component(ascent.dentry.name());
    if ascent.at > ascent.end {
        ascent.omitted += writer.position() - before;
    } else {
        ascent.at = writer.position();
    }
    ascent.dentry = parent;
    0
}
}
