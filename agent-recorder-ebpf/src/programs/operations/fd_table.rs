//! Follows descriptors of known sockets: their copies, and every way in which they close.
//!
//! Not here: what a socket is, and whether it still lives (`socket_table`).

use agent_recorder_abi::event::{VIA_SYSCALL, VIA_URING};
use agent_recorder_abi::limits::{DESCRIPTORS_WALKED, HELD_SOCKETS};
use agent_recorder_abi::state::{SocketKey, Tag};
use aya_ebpf::bindings::BPF_NOEXIST;

use crate::context::areas::repeated;
use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::scratch::{DescriptorWalk, Scratch};
use crate::kernel::compat::{Task, current};
use crate::kernel::types::{Fd, FileTable};
use crate::operations::socket_table;

global! {
    /// dup(2), dup2(2), fcntl(2): one more descriptor of a known socket, or a replaced one.
    pub(crate) fn duplicated(call: &Call) {
        if call.result < 0 || !socket_table::are_used(call.tag) {
            return;
        }
        let files = FileTable::of(call.task);
        let (from, to) = (
            files.descriptor(call.fd_argument(0)),
            files.descriptor(Fd::of(call.result as u64)),
        );
        if from == to {
            return;
        }
        replaced(call, Fd::of(to.fd));
        // SAFETY: the value is copied at once.
        if let Some(key) = unsafe { maps::DESCRIPTORS.get(&from).copied() } {
            // LRU: fails only without memory; the copy's close is then not recorded.
            let _ = maps::DESCRIPTORS.insert(&to, &key, 0);
        }
    }
}

global! {
    /// close(2).
    pub(crate) fn closed(call: &Call) {
        if !socket_table::are_used(call.tag) {
            return;
        }
        let fd = call.fd_argument(0);
        replaced(call, fd);
    }
}

/// A number that no descriptor has. Its key marks that sockets are held; they
/// have the next numbers.
const HELD: u64 = 1 << 32;

global! {
    /// A request holds its socket until a moment after its completion. A socket that
    /// another request closes meanwhile ends at that moment, which no hook shows: its end
    /// is looked for at the next completion of the process, and at the end of the process.
    /// The end of a socket that close(2) closes while a request holds it is lost.
    pub(crate) fn settle_held(call: &Call) {
        if !socket_table::are_used(call.tag) {
            return;
        }
        let files = FileTable::of(call.task);
        // A socket that is held from now on sets the mark again.
        if maps::DESCRIPTORS.remove(files.descriptor(Fd::of(HELD))).is_err() {
            return;
        }
        let walk = DescriptorWalk {
            tag: call.tag,
            files,
            first: HELD + 1,
            copies: FileTable::NONE,
            via: u64::from(VIA_URING),
        };
        let_go(walk.in_area(call.scratch), HELD_SOCKETS);
    }
}

/// Holds a socket that lives on without the descriptor that a request closed.
/// Beyond HELD_SOCKETS, the end of a socket is not recorded.
#[inline(always)]
fn hold(files: FileTable, key: &SocketKey) {
    let mut place = 0;
    while place < u64::from(HELD_SOCKETS) {
        place += 1;
        let held = files.descriptor(Fd::of(HELD + place));
        if maps::DESCRIPTORS
            .insert(&held, key, u64::from(BPF_NOEXIST))
            .is_ok()
        {
            break;
        }
    }
    mark_held(files, key);
}

/// LRU: fails only without memory; the ends of held sockets are then not recorded.
#[inline(always)]
fn mark_held(files: FileTable, key: &SocketKey) {
    let _ = maps::DESCRIPTORS.insert(&files.descriptor(Fd::of(HELD)), key, 0);
}

global! {
    /// A descriptor was closed or replaced.
    fn replaced(call: &Call, fd: Fd) {
        let files = FileTable::of(call.task);
        let descriptor = files.descriptor(fd);
        // SAFETY: the value is copied at once.
        let key = unsafe { maps::DESCRIPTORS.get(&descriptor).copied() };
        if let Some(key) = key {
            let _ = maps::DESCRIPTORS.remove(&descriptor);
            if !socket_table::is_alive(key) {
                socket_table::emit_closed(call.scratch, call.tag, &key, call.via);
            } else if call.via == VIA_URING {
                hold(files, &key);
            }
        }
    }
}

global! {
    /// close_range(2). After CLOSE_RANGE_UNSHARE, the task has a new table that is not followed.
    pub(crate) fn range_closed(call: &Call) {
        if call.result < 0 || !socket_table::are_used(call.tag) {
            return;
        }
        let size = u64::from(FileTable::size_of(call.task));
        let first = u64::from(call.argument(0) as u32);
        let end = u64::from(call.argument(1) as u32) + 1;
        let end = if end < size { end } else { size };
        if first >= end {
            return;
        }
        let walk = DescriptorWalk {
            tag: call.tag,
            files: FileTable::of(call.task),
            first,
            copies: FileTable::NONE,
            via: u64::from(call.via),
        };
        settle(walk.in_area(call.scratch), bounded(end - first));
    }
}

/// An exec has closed the descriptors that are marked FD_CLOEXEC.
#[inline(always)]
pub(crate) fn closed_by_exec(scratch: *mut Scratch, task: Task, tag: Tag) {
    if let Some(walk) = whole_table(task, tag) {
        settle(
            walk.in_area(scratch),
            bounded(u64::from(FileTable::size_of(task))),
        );
    }
}

/// A process ends: the sockets that only it holds end with it.
#[inline(always)]
pub(crate) fn closed_by_exit(scratch: *mut Scratch, task: Task, tag: Tag) {
    // The end of this task closes nothing in a table that another process shares (CLONE_FILES).
    if FileTable::is_shared(task) {
        return;
    }
    if let Some(walk) = whole_table(task, tag) {
        let call = Call::without_row(scratch, task, tag, VIA_SYSCALL);
        call.keep();
        settle_held(&call);
        end_held(
            walk.in_area(scratch),
            bounded(u64::from(FileTable::size_of(task))),
        );
    }
}

/// A child has copies of its parent's descriptors, unless it shares the table itself.
#[inline(always)]
pub(crate) fn inherited(scratch: *mut Scratch, parent: Task, child: Task, tag: Tag) {
    let copies = FileTable::of(child);
    if copies == FileTable::of(parent) {
        return;
    }
    if let Some(walk) = whole_table(parent, tag) {
        copy(
            DescriptorWalk { copies, ..walk }.in_area(scratch),
            bounded(u64::from(FileTable::size_of(parent))),
        );
    }
}

/// `None` when the session has no sockets.
#[inline(always)]
fn whole_table(task: Task, tag: Tag) -> Option<DescriptorWalk> {
    if !socket_table::are_used(tag) {
        return None;
    }
    Some(DescriptorWalk {
        tag,
        files: FileTable::of(task),
        first: 0,
        copies: FileTable::NONE,
        via: u64::from(VIA_SYSCALL),
    })
}

impl DescriptorWalk {
    /// Leaves the walk in an area for the rounds, and returns that area.
    #[inline(always)]
    fn in_area(self, scratch: *mut Scratch) -> *mut Scratch {
        // SAFETY: `scratch` is a map value.
        unsafe { (*scratch).walk = self };
        scratch
    }
}

/// Descriptors beyond DESCRIPTORS_WALKED are left out: the end of their sockets is not recorded.
#[inline(always)]
fn bounded(count: u64) -> u32 {
    let most = u64::from(DESCRIPTORS_WALKED);
    (if count < most { count } else { most }) as u32
}

repeated! {
/// Ends the sockets whose descriptors are gone.
fn settle[settle_one, settle_many](scratch, index) {
    // SAFETY: `scratch` is a map value.
    let walk = unsafe { (*scratch).walk };
    let fd = Fd::of(walk.first + index);
    let descriptor = walk.files.descriptor(fd);
    // SAFETY: the value is copied at once.
    let Some(key) = (unsafe { maps::DESCRIPTORS.get(&descriptor).copied() }) else {
        return 0;
    };
    if fd.file(current()).is_none() {
        let _ = maps::DESCRIPTORS.remove(&descriptor);
        if !socket_table::is_alive(key) {
            socket_table::emit_closed(scratch, walk.tag, &key, walk.via as u8);
        }
    }
    0
}
}

repeated! {
/// Ends the held sockets that no request holds any more.
fn let_go[let_go_one, let_go_many](scratch, index) {
    // SAFETY: `scratch` is a map value.
    let walk = unsafe { (*scratch).walk };
    let held = walk.files.descriptor(Fd::of(walk.first + index));
    // SAFETY: the value is copied at once.
    let Some(key) = (unsafe { maps::DESCRIPTORS.get(&held).copied() }) else {
        return 0;
    };
    if socket_table::is_end_emitted(key) {
        let _ = maps::DESCRIPTORS.remove(&held);
    } else if socket_table::is_alive(key) {
        mark_held(walk.files, &key);
    } else if maps::DESCRIPTORS.remove(&held).is_ok() {
        socket_table::emit_closed(scratch, walk.tag, &key, walk.via as u8);
    }
    0
}
}

repeated! {
/// Ends the sockets that no other process holds.
fn end_held[end_held_one, end_held_many](scratch, index) {
    let file = Fd::of(index).file(current());
    let Some(open) = socket_table::of_file(file) else {
        return 0;
    };
    // SAFETY: `scratch` is a map value.
    let walk = unsafe { (*scratch).walk };
    let _ = maps::DESCRIPTORS.remove(&walk.files.descriptor(Fd::of(index)));
    if file.has_one_reference() {
        socket_table::emit_closed(scratch, walk.tag, &open.key, VIA_SYSCALL);
    }
    0
}
}

repeated! {
/// Copies a table's descriptors of sockets to another.
fn copy[copy_one, copy_many](scratch, index) {
    // SAFETY: `scratch` is a map value.
    let walk = unsafe { (*scratch).walk };
    // SAFETY: the value is copied at once.
    if let Some(key) = unsafe {
        maps::DESCRIPTORS
            .get(&walk.files.descriptor(Fd::of(index)))
            .copied()
    } {
        // LRU: fails only without memory; the copy's close is then not recorded.
        let _ = maps::DESCRIPTORS.insert(
            &walk.copies.descriptor(Fd::of(index)),
            &key,
            0,
        );
    }
    0
}
}
