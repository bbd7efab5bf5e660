//! Open files that a session has emptied, or created where it had removed one: each is
//! judged once its last descriptor is closed, by what it holds then.
//!
//! A formatter empties the file that it is about to write again, and tar(1) removes it:
//! only the close shows how much is left. The file is known by its `struct file`, which
//! all copies of a descriptor share, also those of child processes; so it is judged
//! once, whoever closes it. A descriptor that arrives by SCM_RIGHTS or pidfd_getfd(2) is
//! not followed: if it is the last one, the file is not judged.
//!
//! Not here: files that are written in place (`overwrite`).

use agent_recorder_abi::criteria::{FILE_EMPTIED, FILE_REMOVED, FILE_REWRITTEN, keeps_enough};
use agent_recorder_abi::limits::{DESCRIPTORS_WALKED, MAX_PENDING_CUTS};
use agent_recorder_abi::policy::{CUT_EMPTIED, CUT_NONE, CUT_REMADE, CutKey, KNOWN_CREATED};
use agent_recorder_abi::state::{SessionNumber, Tag};

use crate::context::areas::{repeated, untyped};
use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::scratch::{CutWalk, Scratch};
use crate::guard::judge::report_contents;
use crate::guard::{criteria, ownership};
use crate::kernel::compat::{Task, add_shared, current};
use crate::kernel::counters::add;
use crate::kernel::types::{Fd, File, FileTable, Inode};
use crate::session::tag;

/// Whether the session has any.
#[inline(always)]
fn has_some(tag: Tag) -> bool {
    tag::session(tag)
        // SAFETY: `session` is a map value that the look-up found.
        .is_some_and(|session| unsafe {
            core::ptr::read_volatile(&raw const (*session).pending_cuts) != 0
        })
}

global! {
    /// The call has opened a file. If `scratch.cut` holds what it was before, it is judged
    /// at its close. Beyond `MAX_PENDING_CUTS` an emptied file counts at once:
    /// so many at one time are not about to be written again.
    pub(crate) fn watch(call: &Call, file: File) {
        let number = call.tag.session;
        let inode = file.inode();
        // SAFETY: a field of the call's area.
        let cut = unsafe { &mut (*call.scratch).cut };
        if cut.kind == CUT_NONE {
            return;
        }
        cut.inode = inode.address();
        cut.ino = inode.number();
        cut.generation = inode.generation();
        cut.table = 0;
        cut.leaving = 0;
        let Some(session) = tag::session(call.tag) else {
            return;
        };
        let key = CutKey { session: number, file: file.address() };
        // An entry of the same file is of one whose last close was not observed.
        if maps::CUTS.get_ptr(&key).is_none() {
            // SAFETY: `session` is a map value that the look-up found.
            let pending = unsafe { add_shared(number, &raw mut (*session).pending_cuts, 1) };
            if pending >= MAX_PENDING_CUTS && cut.kind == CUT_EMPTIED {
                drop_pending(number);
                report_contents(number, file.path().dentry, known_bytes(cut.size));
                criteria::count(FILE_EMPTIED, number, cut.judged, known_bytes(cut.size));
                return;
            }
        }
        // LRU: the insertions fail only without memory; the file is then not judged.
        let _ = maps::CUTS.insert(&key, &*cut, 0);
        let descriptor = FileTable::of(call.task).descriptor(Fd::of(call.result as u64));
        let _ = maps::CUT_DESCRIPTORS.insert(&descriptor, &file.address(), 0);
    }
}

/// An unknown length counts no bytes.
#[inline(always)]
fn known_bytes(length: u64) -> u64 {
    if length == agent_recorder_abi::criteria::LENGTH_UNKNOWN {
        0
    } else {
        length
    }
}

#[inline(always)]
fn drop_pending(session: SessionNumber) {
    if let Some(session) = maps::SESSIONS.get_ptr_mut(&session) {
        // SAFETY: a map value that the look-up found. Each cut is added once and, by who
        // removes it from `CUTS`, taken off once: the number stays at 0 or above.
        add(unsafe { &raw mut (*session).pending_cuts }, u64::MAX);
    }
}

/// A request of io_uring closes. Without the question whether there is any, for which
/// its caller has no room on the stack.
#[inline(always)]
pub(crate) fn closed_by_request(call: &Call) {
    let files = table_of(call.scratch, call.task);
    settle_descriptor(call.tag.session, files, call.fd_argument(0), 0);
}

/// close(2).
#[inline(always)]
pub(crate) fn closed(call: &Call) {
    if has_some(call.tag) {
        let files = table_of(call.scratch, call.task);
        settle_descriptor(call.tag.session, files, call.fd_argument(0), 0);
    }
}

/// close_range(2).
#[inline(always)]
pub(crate) fn range_closed(call: &Call) {
    if call.result >= 0 {
        closed_by_exec(call.scratch, call.task, call.tag);
    }
}

/// dup(2) and its kin: the new descriptor may stand where another one was.
#[inline(always)]
pub(crate) fn duplicated(call: &Call) {
    let (from, to) = (call.fd_argument(0), Fd::of(call.result as u64));
    if call.result < 0 || from == to || !has_some(call.tag) {
        return;
    }
    // Not from within the copying, for there 5.10 has no room on the stack.
    let files = table_of(call.scratch, call.task);
    settle_descriptor(call.tag.session, files, to, 0);
    copy_descriptor(files, from, files, to);
}

global! {
    /// A second descriptor leads to what the first leads to.
    fn copy_descriptor(table: FileTable, from: Fd, copies: FileTable, to: Fd) {
        // SAFETY: the value is copied at once.
        let file = unsafe { maps::CUT_DESCRIPTORS.get(&table.descriptor(from)).copied() };
        if let Some(file) = file {
            // LRU: fails only without memory; that descriptor's close is then not observed.
            let _ = maps::CUT_DESCRIPTORS.insert(&copies.descriptor(to), &file, 0);
        }
    }
}

global! {
    /// A descriptor is closed. `ends` says that its process ends, which closes all.
    fn settle_descriptor(session: SessionNumber, files: FileTable, fd: Fd, ends: u32) {
        let descriptor = files.descriptor(fd);
        // SAFETY: the value is copied at once.
        let file = unsafe { maps::CUT_DESCRIPTORS.get(&descriptor).copied() };
        let Some(file) = file else {
            return;
        };
        let _ = maps::CUT_DESCRIPTORS.remove(&descriptor);
        let file = File::at(file);
        // Of an ending process the descriptors are open still, unless one was closed unseen.
        let is_leaving = ends != 0 && fd.file(current()) == file;
        settle_file(session, file, if is_leaving { files } else { FileTable::NONE });
    }
}

/// Judges a file by what it holds, unless other descriptors lead to it: those of
/// `table`, which is going, do not count.
#[inline(always)]
fn settle_file(session: SessionNumber, file: File, table: FileTable) {
    let key = CutKey {
        session,
        file: file.address(),
    };
    let Some(cut) = maps::CUTS.get_ptr_mut(&key) else {
        return;
    };
    // SAFETY: a map value that the look-up found; only the one process that ends
    // writes its table there.
    let leaving = unsafe {
        if table.is_none() {
            0
        } else {
            if (*cut).table != table.address() {
                (*cut).table = table.address();
                (*cut).leaving = 0;
            }
            (*cut).leaving += 1;
            (*cut).leaving
        }
    };
    // SAFETY: as the line before: the value is copied.
    let cut = unsafe { *cut };
    let inode = Inode::at(cut.inode);
    // Another file's memory, or none's: then nobody has this one open.
    if file.inode() == inode && file.references() > leaving {
        return;
    }
    // Whoever removes it judges it: closes on two CPUs can both come here.
    if maps::CUTS.remove(&key).is_err() {
        return;
    }
    drop_pending(session);
    // The inode's memory can be another's by now: then nothing was kept.
    let is_same = inode.number() == cut.ino && inode.generation() == cut.generation;
    let kept = if is_same { inode.size() } else { 0 };
    if keeps_enough(kept, cut.size) {
        if cut.kind == CUT_REMADE {
            criteria::take_back(FILE_REMOVED, session, cut.judged, cut.bytes);
            ownership::disown(session, inode);
        }
        criteria::count(FILE_REWRITTEN, session, 0, 0);
    } else if cut.kind == CUT_EMPTIED {
        ownership::note(session, inode, KNOWN_CREATED);
        if is_same {
            report_contents(session, inode.newest_name(), known_bytes(cut.size));
        }
        criteria::count(FILE_EMPTIED, session, cut.judged, known_bytes(cut.size));
    }
}

/// A new process has copies of its parent's descriptors, unless the two share the table.
#[inline(always)]
pub(crate) fn inherited(scratch: *mut Scratch, parent: Task, child: Task, tag: Tag) {
    let copies = FileTable::of(child);
    if copies == FileTable::of(parent) || !has_some(tag) {
        return;
    }
    let copies = untyped(scratch, copies);
    let walk = CutWalk {
        copies,
        ..whole_table(scratch, parent, tag)
    };
    copy_all(walk.in_area(scratch), most(parent));
}

/// An exec closed the descriptors that were marked so.
#[inline(always)]
pub(crate) fn closed_by_exec(scratch: *mut Scratch, task: Task, tag: Tag) {
    if has_some(tag) {
        settle_all(whole_table(scratch, task, tag).in_area(scratch), most(task));
    }
}

/// A process ends, and closes all that it has open.
#[inline(always)]
pub(crate) fn closed_by_exit(scratch: *mut Scratch, task: Task, tag: Tag) {
    if has_some(tag) {
        let walk = CutWalk {
            ends: 1,
            ..whole_table(scratch, task, tag)
        };
        settle_all(walk.in_area(scratch), most(task));
    }
}

#[inline(always)]
fn table_of(scratch: *mut Scratch, task: Task) -> FileTable {
    untyped(scratch, FileTable::of(task))
}

#[inline(always)]
fn whole_table(scratch: *mut Scratch, task: Task, tag: Tag) -> CutWalk {
    CutWalk {
        session: tag.session,
        files: table_of(scratch, task),
        copies: FileTable::NONE,
        ends: 0,
    }
}

impl CutWalk {
    /// Leaves it in an area, for the rounds to come: that area.
    #[inline(always)]
    fn in_area(self, scratch: *mut Scratch) -> *mut Scratch {
        // SAFETY: a field of a map value.
        unsafe { (*scratch).cut_walk = self };
        scratch
    }
}

/// Files of descriptors beyond DESCRIPTORS_WALKED are not judged.
#[inline(always)]
fn most(task: Task) -> u32 {
    let size = FileTable::size_of(task);
    if size < DESCRIPTORS_WALKED {
        size
    } else {
        DESCRIPTORS_WALKED
    }
}

repeated! {
/// Settles the descriptors that are closed or, at the end of a process, all.
fn settle_all[settle_next_cut, settle_some_cuts](scratch, fd) {
    // SAFETY: a field of a map value.
    let walk = unsafe { (*scratch).cut_walk };
    let fd = Fd::of(fd);
    if walk.ends != 0 || fd.file(current()).is_none() {
        settle_descriptor(walk.session, walk.files, fd, u32::from(walk.ends != 0));
    }
    0
}
}

repeated! {
/// Copies a table's descriptors to another.
fn copy_all[copy_next_cut, copy_some_cuts](scratch, fd) {
    // SAFETY: a field of a map value.
    let walk = unsafe { (*scratch).cut_walk };
    let fd = Fd::of(fd);
    copy_descriptor(walk.files, fd, walk.copies, fd);
    0
}
}
