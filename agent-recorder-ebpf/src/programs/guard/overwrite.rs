//! Contents that are destroyed while their file keeps its name: emptied, cut
//! short, punched, or overwritten in place.
//!
//! A file is compared with the longest that the session found it, so that many small
//! cuts are as good as one. Overwriting is summed up for each file, in whatever order
//! and by however many opens: bytes that are overwritten twice count twice. Writes
//! through a mapping or io_uring are not followed.
//!
//! Not here: a file that is emptied by its open, or created where one was removed, which
//! its close shows (`pending_cuts`), and a file whose name another file takes (`pre_op`,
//! `post_op`).

use agent_recorder_abi::criteria::{
    Criterion, DEVICE_OPENED, FILE_EMPTIED, FILE_OVERWRITTEN, FILE_PUNCHED, FILE_SHORTENED,
    LENGTH_UNKNOWN, is_mostly_lost, keeps_enough,
};
use agent_recorder_abi::event::Op;
use agent_recorder_abi::policy::{
    CUT_EMPTIED, CUT_NONE, CUT_REMADE, Content, KNOWN_CREATED, RemovedKey, Victim,
};
use agent_recorder_abi::state::{SessionNumber, Tag};
use agent_recorder_abi::syscall::{MARK_LENGTH_PAIR, NO_ARG};

use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::operation::OperationKey;
use crate::guard::judge::report_contents;
use crate::guard::ownership::{self, judge};
use crate::guard::{budget, criteria, pending_cuts, written_files};
use crate::kernel::read::{hooks, read_user};
use crate::kernel::types::{Dentry, Fd, File, Inode};
use crate::kernel::uapi::{O_ACCMODE, O_TRUNC, S_IFBLK, S_IFREG};
use crate::session::tag;

/// Modes of fallocate(2) that take contents away: FALLOC_FL_PUNCH_HOLE, _COLLAPSE_RANGE, _ZERO_RANGE.
const TAKES_AWAY: u64 = 0x2 | 0x8 | 0x10;

/// Whether the session writes files of others in place.
#[inline(always)]
fn writes_in_place(tag: Tag) -> bool {
    tag::session(tag)
        // SAFETY: `session` is a map value that the look-up found.
        .is_some_and(|session| unsafe {
            core::ptr::read_volatile(&raw const (*session).writes_in_place) != 0
        })
}

global! {
    /// The session has found a file so long.
    fn note_length(session: SessionNumber, inode: Inode, length: u64) {
        let key = ownership::key_of(session, inode);
        match maps::CONTENTS.get_ptr_mut(&key) {
            // SAFETY: a map value that the look-up found.
            Some(content) => unsafe {
                if (*content).length < length {
                    (*content).length = length;
                }
            },
            None => {
                let content = Content { length, written: 0, in_place: 0 };
                // LRU: fails only without memory; the length is then unknown.
                let _ = maps::CONTENTS.insert(&key, &content, 0);
            }
        }
    }
}

/// The longest that the session found a file, `LENGTH_UNKNOWN` where it never saw it.
#[inline(always)]
fn length_found(session: SessionNumber, inode: Inode) -> u64 {
    maps::CONTENTS
        .get_ptr(&ownership::key_of(session, inode))
        // SAFETY: a map value that the look-up found.
        .map_or(LENGTH_UNKNOWN, |content| unsafe { (*content).length })
}

/// Every open comes here: most are for reading. Not from within the handler of
/// opens, for there the stack has no room.
#[inline(always)]
pub(crate) fn opened(call: &Call) {
    if call.result < 0 {
        return;
    }
    // SAFETY: a field of a map value, set by `open_exit::opened_descriptor`.
    let opened = unsafe { (*call.scratch).opened };
    if opened.created != 0 || opened.flags & (O_ACCMODE | O_TRUNC) != 0 {
        begin(call, opened.file, opened.flags, opened.created as u32);
        // Not from within `begin`, for there the stack has no room.
        pending_cuts::watch(call, opened.file);
    } else if hooks().see == 0 {
        looked_into(call.tag.session, opened.file);
    }
}

global! {
    /// A file is opened for reading. Where no hook shows a length before it is cut, this
    /// is how it is known.
    fn looked_into(session: SessionNumber, file: File) {
        let inode = file.inode();
        if inode.kind() == S_IFREG {
            note_length(session, inode, inode.size());
        }
    }
}

global! {
    /// Notes what an open means for the file. In `scratch.cut` afterwards: what its close
    /// must be compared with, if anything.
    fn begin(call: &Call, file: File, flags: u64, created: u32) {
        let session = call.tag.session;
        // SAFETY: a field of the call's area.
        unsafe { (*call.scratch).cut.kind = CUT_NONE };
        let inode = file.inode();
        let kind = inode.kind();
        if kind == S_IFREG {
            written_files::wrote(session, file);
        }
        if created != 0 {
            ownership::note(session, inode, KNOWN_CREATED);
            remade(call, file);
            return;
        }
        if kind == S_IFBLK {
            criteria::count(DEVICE_OPENED, session, 0, 0);
        }
        if kind != S_IFREG {
            return;
        }
        let empties = flags & O_TRUNC != 0;
        let before = if empties { length_before(call, inode) } else { inode.size() };
        if before == 0 {
            return;
        }
        let judged = judge(call.area(), session, file.path().dentry);
        let criterion = if empties { FILE_EMPTIED } else { FILE_OVERWRITTEN };
        if !criteria::counts(criterion, judged, call.tag.restores) {
            return;
        }
        if !empties {
            begin_in_place(call, inode, before);
            return;
        }
        end_in_place(session, inode);
        // SAFETY: a field of the call's area.
        let cut = unsafe { &mut (*call.scratch).cut };
        cut.size = before;
        cut.bytes = 0;
        cut.judged = judged;
        cut.kind = CUT_EMPTIED;
    }
}

/// A file is opened to be written without being emptied.
#[inline(always)]
fn begin_in_place(call: &Call, inode: Inode, length: u64) {
    let session = call.tag.session;
    note_length(session, inode, length);
    let content = maps::CONTENTS.get_ptr_mut(&ownership::key_of(session, inode));
    if let (Some(content), Some(known)) = (content, tag::session(call.tag)) {
        // SAFETY: map values that the look-ups found.
        unsafe {
            (*content).in_place = 1;
            core::ptr::write_volatile(&raw mut (*known).writes_in_place, 1);
        }
    }
}

/// What is written to an emptied file destroys nothing: the emptying did.
#[inline(always)]
fn end_in_place(session: SessionNumber, inode: Inode) {
    let content = maps::CONTENTS.get_ptr_mut(&ownership::key_of(session, inode));
    if let Some(content) = content {
        // SAFETY: a map value that the look-up found.
        unsafe {
            (*content).in_place = 0;
            (*content).written = 0;
        }
    }
}

global! {
    /// A file was made. If a file of others had the name, it is judged at its close:
    /// tar(1) and unzip(1) remove what they are about to write again.
    fn remade(call: &Call, file: File) {
        let dentry = file.path().dentry;
        let name = RemovedKey {
            session: call.tag.session,
            parent: dentry.parent().address(),
            name: dentry.name_hash(),
        };
        let Some(removed) = maps::REMOVED.get_ptr(&name) else {
            return;
        };
        // SAFETY: a map value that the look-up found.
        let removed = unsafe { *removed };
        let _ = maps::REMOVED.remove(&name);
        // A judgement has settled what was counted before it.
        if removed.judgements != budget::judgements(name.session) {
            return;
        }
        // SAFETY: a field of the call's area.
        let cut = unsafe { &mut (*call.scratch).cut };
        cut.size = removed.size;
        cut.bytes = removed.bytes;
        cut.judged = removed.judged;
        cut.kind = CUT_REMADE;
    }
}

/// The file's length before this open emptied it.
#[inline(always)]
fn length_before(call: &Call, inode: Inode) -> u64 {
    let found = length_found(call.tag.session, inode);
    match seen_before(call) {
        // SAFETY: in the call's area.
        Some(victim) if hooks().see != 0 => longest(found, unsafe { (*victim).size }),
        _ => found,
    }
}

/// The longer of a length that may be unknown, and one that a hook saw.
#[inline(always)]
fn longest(found: u64, seen: u64) -> u64 {
    if found == LENGTH_UNKNOWN || found < seen {
        seen
    } else {
        found
    }
}

/// What was seen of the file that the running call cuts.
#[inline(always)]
fn seen_before(call: &Call) -> Option<*const Victim> {
    let key = OperationKey::of_thread();
    let known = maps::FORESEEN.get_ptr(&key)?;
    // SAFETY: map values.
    let op = unsafe {
        (*call.scratch).foreseen = *known;
        (*call.scratch).foreseen.op
    };
    let _ = maps::FORESEEN.remove(&key);
    // SAFETY: a field of a map value.
    let first = unsafe { (&raw const (*call.scratch).foreseen.victims).cast() };
    (op == Op::Truncate as u32).then_some(first)
}

global! {
    /// truncate(2) and ftruncate(2), which succeeded.
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
        // SAFETY: in the call's area.
        let (inode, judged, size, bytes) = unsafe {
            (Inode::at((*victim).inode), (*victim).judged, (*victim).size, (*victim).bytes)
        };
        let session = call.tag.session;
        let found = length_found(session, inode);
        // Without a hook, the size is the new one already.
        let before = if hooks().see != 0 { longest(found, size) } else { found };
        if hooks().see != 0 {
            note_length(session, inode, size);
        }
        if !criteria::counts(FILE_SHORTENED, judged, call.tag.restores)
            || keeps_enough(length, before)
        {
            return;
        }
        // SAFETY: as above.
        let dentry = Dentry::at(unsafe { (*victim).dentry });
        ownership::note(session, inode, KNOWN_CREATED);
        report_contents(session, dentry, bytes);
        criteria::count(FILE_SHORTENED, session, judged, bytes);
    }
}

global! {
    /// Nothing shows files here. What is left of an open one is compared with what it
    /// had when it was opened. Of a name (truncate(2)) that is unknown: all of it counts.
    fn shortened_unseen(call: &Call, length: u64) {
        let spec = call.spec();
        let session = call.tag.session;
        if spec.path != NO_ARG {
            if length == 0 && criteria::counts_unseen(FILE_SHORTENED, call.tag.restores) {
                criteria::count(FILE_SHORTENED, session, 0, 0);
            }
            return;
        }
        let file = call.fd_argument(spec.dirfd).file(call.task);
        let inode = file.inode();
        let before = length_found(session, inode);
        if before == LENGTH_UNKNOWN || keeps_enough(length, before) {
            return;
        }
        let judged = judge(call.area(), session, file.path().dentry);
        if !criteria::counts(FILE_SHORTENED, judged, call.tag.restores) {
            return;
        }
        ownership::note(session, inode, KNOWN_CREATED);
        report_contents(session, file.path().dentry, before);
        criteria::count(FILE_SHORTENED, session, judged, before);
    }
}

global! {
    /// fallocate(2).
    pub(crate) fn punched(call: &Call) {
        let mode = call.argument(1);
        if call.result < 0 || mode & TAKES_AWAY == 0 {
            return;
        }
        let (offset, length) = if call.compat {
            (
                call.argument(2) | call.argument(3) << 32,
                call.argument(4) | call.argument(5) << 32,
            )
        } else {
            (call.argument(2), call.argument(3))
        };
        let file = call.fd_argument(0).file(call.task);
        let inode = file.inode();
        note_length(call.tag.session, inode, inode.size());
        if lose(call.tag.session, inode, offset, length) {
            count_lost(call, file, FILE_PUNCHED);
        }
    }
}

/// Bytes were written through a descriptor, up to the file's position.
#[inline(always)]
pub(crate) fn written(call: &Call, fd: Fd) {
    if call.result > 0 && writes_in_place(call.tag) {
        write_over(call, fd, u64::MAX);
    }
}

/// Bytes were written from the position that an argument of the call gives.
#[inline(always)]
pub(crate) fn written_at(call: &Call, position: u8) {
    if call.result > 0 && writes_in_place(call.tag) {
        let mut from = call.argument(position);
        if call.compat {
            from |= call.argument(position + 1) << 32;
        }
        write_over(call, call.fd_argument(0), from);
    }
}

/// copy_file_range(2): its fourth argument points to the position, if it is not the file's own.
#[inline(always)]
pub(crate) fn copied(call: &Call) {
    if call.result > 0 && writes_in_place(call.tag) {
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
        let file = fd.file(call.task);
        let inode = file.inode();
        let key = ownership::key_of(call.tag.session, inode);
        let Some(content) = maps::CONTENTS.get_ptr(&key) else {
            return;
        };
        // SAFETY: a map value that the look-up found.
        if unsafe { (*content).in_place } == 0 {
            return;
        }
        let bytes = call.result as u64;
        let from = if from == u64::MAX {
            file.position().wrapping_sub(bytes)
        } else {
            from
        };
        if lose(call.tag.session, inode, from, bytes) {
            count_lost(call, file, FILE_OVERWRITTEN);
        }
    }
}

global! {
    /// So many bytes of a file are overwritten or, by a hole, taken away: adds those that
    /// it had to its sum. True once, when that is most of it.
    fn lose(session: SessionNumber, inode: Inode, from: u64, bytes: u64) -> bool {
        let Some(content) = maps::CONTENTS.get_ptr_mut(&ownership::key_of(session, inode)) else {
            return false;
        };
        // SAFETY: a map value that the look-up found.
        let (length, before) = unsafe { ((*content).length, (*content).written) };
        if from >= length {
            return false;
        }
        let room = length - from;
        let lost = before + if bytes < room { bytes } else { room };
        // SAFETY: as the line before. Two threads that write at one time can lose a sum.
        unsafe { (*content).written = lost };
        !is_mostly_lost(before, length) && is_mostly_lost(lost, length)
    }
}

/// Most of what a file held is lost.
#[inline(always)]
fn count_lost(call: &Call, file: File, criterion: Criterion) {
    let (session, inode) = (call.tag.session, file.inode());
    let judged = judge(call.area(), session, file.path().dentry);
    if criteria::counts(criterion, judged, call.tag.restores) {
        ownership::note(session, inode, KNOWN_CREATED);
        report_contents(session, file.path().dentry, inode.size());
        criteria::count(criterion, session, judged, inode.size());
    }
}
