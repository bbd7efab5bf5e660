//! Contents that are destroyed while their file keeps its name: emptied, cut
//! short, punched, or written over from the start.
//!
//! A file opened with O_TRUNC is judged at its close: a formatter empties a file before
//! it writes about as much again. A file that is overwritten in place is judged when
//! all of it is overwritten. Writes through a mapping or io_uring are not followed.
//!
//! Not here: a file whose name another file takes (`pre_op`, `post_op`).

use agent_recorder_abi::criteria::{
    DEVICE_OPENED, FILE_EMPTIED, FILE_OVERWRITTEN, FILE_PUNCHED, FILE_REMOVED, FILE_REWRITTEN,
    FILE_SHORTENED, is_mostly_hole, keeps_enough,
};
use agent_recorder_abi::event::Op;
use agent_recorder_abi::limits::{DESCRIPTORS_WALKED, MAX_PENDING_CUTS};
use agent_recorder_abi::policy::{
    CUT_EMPTIED, CUT_INTACT, CUT_REMADE, KNOWN_CREATED, RemovedKey, Victim,
};
use agent_recorder_abi::state::{SessionNumber, Tag};
use agent_recorder_abi::syscall::{MARK_LENGTH_PAIR, NO_ARG};

use crate::context::areas::{repeated, untyped};
use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::operation::OperationKey;
use crate::context::scratch::Scratch;
use crate::guard::ownership::{self, judge};
use crate::guard::{criteria, written_files};
use crate::kernel::compat::{Task, add_shared, current};
use crate::kernel::counters::add;
use crate::kernel::read::{hooks, read_user};
use crate::kernel::types::{Fd, File, FileTable, Inode};
use crate::kernel::uapi::{O_ACCMODE, O_TRUNC, S_IFBLK, S_IFREG};
use crate::session::tag;

/// Modes of fallocate(2) that take contents away: FALLOC_FL_PUNCH_HOLE, _COLLAPSE_RANGE, _ZERO_RANGE.
const TAKES_AWAY: u64 = 0x2 | 0x8 | 0x10;

#[inline(always)]
fn are_open(tag: Tag) -> bool {
    tag::session(tag)
        // SAFETY: `session` is a map value, checked not null.
        .is_some_and(|session| unsafe { core::ptr::read_volatile(&raw const (*session).cuts) } != 0)
}

/// Passes on the few opens that create, empty or may write their file. It runs
/// after `open_exit::opened`, whose stack has no room for it.
#[inline(always)]
pub(crate) fn opened(call: &Call) {
    if call.result < 0 {
        return;
    }
    // SAFETY: `call.scratch` is a map value; `open_exit::opened_descriptor` set `opened`.
    let opened = unsafe { (*call.scratch).opened };
    if opened.created != 0 || opened.flags & (O_ACCMODE | O_TRUNC) != 0 {
        begin(call, opened.file, opened.flags, opened.created as u32);
    }
}

global! {
    fn begin(call: &Call, file: File, flags: u64, created: u32) {
        let session = call.tag.session;
        let inode = file.inode();
        let kind = inode.kind();
        if kind == S_IFREG {
            written_files::wrote(session, file);
        }
        if created != 0 {
            ownership::note(session, inode, KNOWN_CREATED);
            remade(call, file, inode);
            return;
        }
        if kind == S_IFBLK {
            criteria::count(DEVICE_OPENED, session, 0, 0);
        }
        if kind != S_IFREG {
            return;
        }
        let empties = flags & O_TRUNC != 0;
        let before = if empties { length_before(call) } else { inode.size() };
        if before == 0 {
            return;
        }
        let judged = judge(call.area(), session, file.path().dentry);
        let criterion = if empties { FILE_EMPTIED } else { FILE_OVERWRITTEN };
        if !criteria::counts(criterion, judged, call.tag.restores) {
            return;
        }
        let descriptor = FileTable::of(call.task).descriptor(Fd::of(call.result as u64));
        // SAFETY: `call.scratch` is a map value.
        let cut = unsafe { &mut (*call.scratch).cut };
        cut.file = file.address();
        cut.inode = inode.address();
        cut.ino = inode.number();
        cut.size = before;
        cut.written = 0;
        cut.judged = judged;
        cut.generation = inode.generation();
        cut.kind = if empties { CUT_EMPTIED } else { CUT_INTACT };
        let Some(known) = tag::session(call.tag) else {
            return;
        };
        // SAFETY: `known` is a map value, checked not null.
        let pending = unsafe {
            core::ptr::write_volatile(&raw mut (*known).cuts, 1);
            if empties { add_shared(session, &raw mut (*known).emptied, 1) } else { 0 }
        };
        // Files that are emptied in such numbers are not about to be rewritten.
        if pending >= MAX_PENDING_CUTS {
            drop_emptied(session);
            criteria::count(FILE_EMPTIED, session, judged, before);
            return;
        }
        // LRU: fails only without memory; the file is then not judged.
        let _ = maps::CUTS.insert(&descriptor, &*cut, 0);
    }
}

global! {
    /// A file was created. If it has the name of a removed file that counted, it is judged
    /// once it is written: tar(1) and unzip(1) remove a file before they write it again.
    fn remade(call: &Call, file: File, inode: Inode) {
        let dentry = file.path().dentry;
        let name = RemovedKey {
            session: call.tag.session,
            parent: dentry.parent().address(),
            name: dentry.name_hash(),
        };
        let Some(removed) = maps::REMOVED.get_ptr(&name) else {
            return;
        };
        // SAFETY: `removed` is a map value, checked not null.
        let removed = unsafe { *removed };
        let _ = maps::REMOVED.remove(&name);
        let descriptor = FileTable::of(call.task).descriptor(Fd::of(call.result as u64));
        // SAFETY: `call.scratch` is a map value.
        let cut = unsafe { &mut (*call.scratch).cut };
        cut.file = file.address();
        cut.inode = inode.address();
        cut.ino = inode.number();
        cut.size = removed.size;
        cut.written = removed.bytes;
        cut.judged = removed.judged;
        cut.generation = inode.generation();
        cut.kind = CUT_REMADE;
        if let Some(known) = tag::session(call.tag) {
            // SAFETY: `known` is a map value, checked not null.
            unsafe { core::ptr::write_volatile(&raw mut (*known).cuts, 1) };
            // LRU: fails only without memory; the removal then counts, whatever is written.
            let _ = maps::CUTS.insert(&descriptor, &*cut, 0);
        }
    }
}

/// The file's length before this open emptied it, or 1 where no security hook saw it.
#[inline(always)]
fn length_before(call: &Call) -> u64 {
    match seen_before(call) {
        // SAFETY: `victim` is in a map value.
        Some(victim) if hooks().see != 0 => unsafe { (*victim).size },
        _ => 1,
    }
}

/// The victim that a hook saw, if the running call truncates it.
#[inline(always)]
fn seen_before(call: &Call) -> Option<*const Victim> {
    let key = OperationKey::of_thread();
    let known = maps::FORESEEN.get_ptr(&key)?;
    // SAFETY: `known` and `call.scratch` are map values.
    let op = unsafe {
        (*call.scratch).foreseen = *known;
        (*call.scratch).foreseen.op
    };
    let _ = maps::FORESEEN.remove(&key);
    // SAFETY: `call.scratch` is a map value.
    let first = unsafe { (&raw const (*call.scratch).foreseen.victims).cast() };
    (op == Op::Truncate as u32).then_some(first)
}

#[inline(always)]
fn drop_emptied(session: SessionNumber) {
    if let Some(known) = maps::SESSIONS.get_ptr_mut(&session) {
        // SAFETY: `known` is a map value, checked not null.
        add(unsafe { &raw mut (*known).emptied }, u64::MAX);
    }
}

global! {
    /// truncate(2) and ftruncate(2) that succeeded.
    pub(crate) fn shortened(call: &Call) {
        let spec = call.spec();
        let mut length = call.argument(spec.length);
        if spec.length == NO_ARG {
            return;
        }
        if spec.marks & MARK_LENGTH_PAIR != 0 {
            length |= call.argument(spec.length + 1) << 32;
        }
        let Some(victim) = seen_before(call) else {
            if hooks().see == 0 && hooks().touch == 0 {
                shortened_unseen(call, length);
            }
            return;
        };
        // SAFETY: `victim` is in a map value.
        let (inode, judged, size, bytes) = unsafe {
            (Inode::at((*victim).inode), (*victim).judged, (*victim).size, (*victim).bytes)
        };
        // The hooks on inode times see the new length alone.
        let before = if hooks().see != 0 { size } else { 1 };
        if !criteria::counts(FILE_SHORTENED, judged, call.tag.restores)
            || keeps_enough(length, before)
        {
            return;
        }
        ownership::note(call.tag.session, inode, KNOWN_CREATED);
        criteria::count(FILE_SHORTENED, call.tag.session, judged, bytes);
    }
}

global! {
    /// Without a hook that shows the file, its new length is compared with that at
    /// the open. truncate(2) has a path and no open: there a length of 0 counts.
    fn shortened_unseen(call: &Call, length: u64) {
        let spec = call.spec();
        let session = call.tag.session;
        if spec.path != NO_ARG {
            if length == 0 && criteria::counts_unseen(FILE_SHORTENED, call.tag.restores) {
                criteria::count(FILE_SHORTENED, session, 0, 0);
            }
            return;
        }
        let descriptor = FileTable::of(call.task).descriptor(call.fd_argument(spec.dirfd));
        let Some(cut) = maps::CUTS.get_ptr(&descriptor) else {
            return;
        };
        // SAFETY: `cut` is a map value, checked not null.
        let (kind, size, judged, inode) =
            unsafe { ((*cut).kind, (*cut).size, (*cut).judged, Inode::at((*cut).inode)) };
        if kind != CUT_INTACT || keeps_enough(length, size) {
            return;
        }
        let _ = maps::CUTS.remove(&descriptor);
        ownership::note(session, inode, KNOWN_CREATED);
        criteria::count(FILE_SHORTENED, session, judged, size);
    }
}

global! {
    /// fallocate(2).
    pub(crate) fn punched(call: &Call) {
        let mode = call.argument(1);
        if call.result < 0 || mode & TAKES_AWAY == 0 {
            return;
        }
        let file = call.fd_argument(0).file(call.task);
        let inode = file.inode();
        let size = inode.size();
        let length = if call.compat {
            call.argument(4) | call.argument(5) << 32
        } else {
            call.argument(3)
        };
        if !is_mostly_hole(length, size) {
            return;
        }
        let judged = judge(call.area(), call.tag.session, file.path().dentry);
        if criteria::counts(FILE_PUNCHED, judged, call.tag.restores) {
            ownership::note(call.tag.session, inode, KNOWN_CREATED);
            criteria::count(FILE_PUNCHED, call.tag.session, judged, length);
        }
    }
}

/// A write through a descriptor ended at the file's position.
#[inline(always)]
pub(crate) fn written(call: &Call, fd: Fd) {
    if call.result > 0 && are_open(call.tag) {
        write_over(call, fd, u64::MAX);
    }
}

/// A write began at the position that an argument of the call gives.
#[inline(always)]
pub(crate) fn written_at(call: &Call, position: u8) {
    if call.result > 0 && are_open(call.tag) {
        let mut from = call.argument(position);
        if call.compat {
            from |= call.argument(position + 1) << 32;
        }
        write_over(call, call.fd_argument(0), from);
    }
}

/// copy_file_range(2): the fourth argument points to the position after the
/// copy, or is 0 for the file's own.
#[inline(always)]
pub(crate) fn copied(call: &Call) {
    if call.result > 0 && are_open(call.tag) {
        let position = call.argument(3);
        let from = if position == 0 {
            u64::MAX
        } else {
            read_user::<u64>(position).wrapping_sub(call.result as u64)
        };
        write_over(call, call.fd_argument(2), from);
    }
}

global! {
    fn write_over(call: &Call, fd: Fd, from: u64) {
        let descriptor = FileTable::of(call.task).descriptor(fd);
        let Some(cut) = maps::CUTS.get_ptr_mut(&descriptor) else {
            return;
        };
        // SAFETY: `cut` is a map value, checked not null.
        let (kind, written, size, judged, file, inode) = unsafe {
            (
                (*cut).kind,
                (*cut).written,
                (*cut).size,
                (*cut).judged,
                File::at((*cut).file),
                Inode::at((*cut).inode),
            )
        };
        let bytes = call.result as u64;
        let from = if from == u64::MAX {
            file.position().wrapping_sub(bytes)
        } else {
            from
        };
        if kind != CUT_INTACT || from > written || from + bytes <= written {
            return;
        }
        // SAFETY: `cut` is a map value, checked not null.
        unsafe { (*cut).written = from + bytes };
        if from + bytes >= size {
            let _ = maps::CUTS.remove(&descriptor);
            ownership::note(call.tag.session, inode, KNOWN_CREATED);
            criteria::count(FILE_OVERWRITTEN, call.tag.session, judged, size);
        }
    }
}

#[inline(always)]
fn table_of(scratch: *mut Scratch, task: Task) -> FileTable {
    untyped(scratch, FileTable::of(task))
}

/// close(2).
#[inline(always)]
pub(crate) fn closed(call: &Call) {
    if are_open(call.tag) {
        close_one(call, call.fd_argument(0));
    }
}

#[inline(always)]
fn close_one(call: &Call, fd: Fd) {
    let files = table_of(call.scratch, call.task);
    settle_one_cut(call.tag.session, files, fd, 0);
}

/// dup(2) and its kin: the new descriptor is followed, too.
#[inline(always)]
pub(crate) fn duplicated(call: &Call) {
    let (from, to) = (call.fd_argument(0), Fd::of(call.result as u64));
    if call.result < 0 || from == to || !are_open(call.tag) {
        return;
    }
    // It runs before `copy_one_cut`, whose stack has no room for it on 5.10.
    let files = table_of(call.scratch, call.task);
    settle_one_cut(call.tag.session, files, to, 0);
    copy_one_cut(call);
}

global! {
    fn copy_one_cut(call: &Call) {
        let files = table_of(call.scratch, call.task);
        let (from, to) = (
            files.descriptor(call.fd_argument(0)),
            files.descriptor(Fd::of(call.result as u64)),
        );
        // SAFETY: the value is copied at once.
        if let Some(cut) = unsafe { maps::CUTS.get(&from).copied() } {
            // LRU: fails only without memory; the copy is then not followed.
            let _ = maps::CUTS.insert(&to, &cut, 0);
        }
    }
}

global! {
    /// Judges the file of a closed descriptor by the length that is left. A file that is open
    /// elsewhere is left to its other descriptors, unless `ends` says that the process ends.
    fn settle_one_cut(session: SessionNumber, files: FileTable, fd: Fd, ends: u32) {
        let descriptor = files.descriptor(fd);
        let Some(cut) = maps::CUTS.get_ptr(&descriptor) else {
            return;
        };
        // SAFETY: `cut` is a map value, checked not null.
        let (kind, file, inode, ino, generation, size, bytes, judged) = unsafe {
            (
                (*cut).kind,
                File::at((*cut).file),
                Inode::at((*cut).inode),
                (*cut).ino,
                (*cut).generation,
                (*cut).size,
                (*cut).written,
                (*cut).judged,
            )
        };
        let _ = maps::CUTS.remove(&descriptor);
        let is_open = file.inode() == inode && file.has_references();
        if kind == CUT_INTACT || is_open && ends == 0 {
            return;
        }
        if kind == CUT_EMPTIED {
            drop_emptied(session);
        }
        // The inode's memory can belong to another inode by now; then the file kept nothing.
        let is_same = inode.number() == ino
            && inode.generation() == generation;
        let kept = if is_same { inode.size() } else { 0 };
        if keeps_enough(kept, size) {
            if kind == CUT_REMADE {
                criteria::take_back(FILE_REMOVED, session, judged, bytes);
                ownership::disown(session, inode);
            }
            criteria::count(FILE_REWRITTEN, session, 0, 0);
        } else if kind == CUT_EMPTIED {
            ownership::note(session, inode, KNOWN_CREATED);
            criteria::count(FILE_EMPTIED, session, judged, size);
        }
    }
}

/// An exec has closed the descriptors that are marked FD_CLOEXEC.
#[inline(always)]
pub(crate) fn closed_by_exec(scratch: *mut Scratch, task: Task, tag: Tag) {
    if are_open(tag) {
        settle_cuts(begin_walk(scratch, task, tag, 0), most(task));
    }
}

/// A process ends, and with it the files that only it has open.
#[inline(always)]
pub(crate) fn closed_by_exit(scratch: *mut Scratch, task: Task, tag: Tag) {
    if are_open(tag) {
        settle_cuts(begin_walk(scratch, task, tag, 1), most(task));
    }
}

#[inline(always)]
fn most(task: Task) -> u32 {
    let size = FileTable::size_of(task);
    if size < DESCRIPTORS_WALKED {
        size
    } else {
        DESCRIPTORS_WALKED
    }
}

/// Leaves in the area what the rounds of `settle_cuts` need.
#[inline(always)]
fn begin_walk(scratch: *mut Scratch, task: Task, tag: Tag, ends: u64) -> *mut Scratch {
    let files = table_of(scratch, task);
    // SAFETY: `scratch` is a map value.
    unsafe {
        (*scratch).kept_session = tag.session;
        (*scratch).kept_files = files;
        (*scratch).kept_end = ends;
    }
    scratch
}

repeated! {
/// Judges the files of closed descriptors, and all files at the end of the process.
fn settle_cuts[settle_next_cut, settle_some_cuts](scratch, fd) {
    // SAFETY: `scratch` is a map value.
    let (session, files, ends) = unsafe {
        ((*scratch).kept_session, (*scratch).kept_files, (*scratch).kept_end != 0)
    };
    let fd = Fd::of(fd);
    if ends || fd.file(current()).is_none() {
        settle_one_cut(session, files, fd, u32::from(ends));
    }
    0
}
}
