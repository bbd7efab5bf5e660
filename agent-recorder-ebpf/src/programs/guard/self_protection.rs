//! What members of sessions are refused because it would harm the recorder:
//! signals, attaches and limits to it, changes of its files, mounts over them,
//! bpf(2) calls that get at its programs, maps and links.
//!
//! It acts only where the kernel uses a hook's answer. A recorder that is in a
//! session itself is never refused.
//! Not here: the record of a refusal, which is the act's own.

use agent_recorder_abi::limits::WALKED_LEVELS;
use agent_recorder_abi::self_protection::{
    OWN_ABOVE, OWN_LINK, OWN_MAP, OWN_NAMESPACE, OWN_PROCESS, OWN_PROGRAM, OWN_TREE, OwnKey,
};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::context::areas::{repeated, untyped, with_area};
use crate::context::call::global;
use crate::context::maps;
use crate::context::scratch::{Scratch, ScratchId};
use crate::guard::enforce::{self, EPERM};
use crate::kernel::read::{hooks, read};
use crate::kernel::types::{Dentry, File, Inode, KernelPath, Mount, OtherTask};
use crate::kernel::uapi::{FMODE_WRITE, PROC_SUPER_MAGIC};
use crate::session::actor::Actor;

/// `PTRACE_MODE_ATTACH` (include/linux/ptrace.h): more than a look.
const PTRACE_MODE_ATTACH: u32 = 2;
/// Commands of bpf(2) that get at an object by its number, the first of their
/// arguments: `BPF_PROG_`, `BPF_MAP_` and `BPF_LINK_GET_FD_BY_ID`
/// (include/uapi/linux/bpf.h). All others want its descriptor, or a pin, and there is none.
const PROGRAM_BY_ID: u32 = 13;
const MAP_BY_ID: u32 = 14;
const LINK_BY_ID: u32 = 30;

#[inline(always)]
fn is_listed(kind: u32, number: u64, dev: u32) -> bool {
    let key = OwnKey { number, dev, kind };
    maps::OWN.get_ptr(&key).is_some()
}

#[inline(always)]
fn is_inode_listed(kind: u32, inode: Inode) -> bool {
    if inode.is_none() {
        return false;
    }
    let key = inode.place_key();
    is_listed(kind, key.ino, key.dev)
}

/// Whether the recorder itself runs.
#[inline(always)]
fn is_itself() -> bool {
    is_listed(OWN_PROCESS, bpf_get_current_pid_tgid() >> 32, 0)
}

/// Whether the object at this dentry, which may be a name that nothing has yet,
/// is the recorder's, and may not be changed by who runs, a member of a session.
#[inline(always)]
pub(crate) fn keeps(area: *mut Scratch, dentry: Dentry) -> bool {
    hooks().decide != 0 && is_kept_from(ScratchId::of(area), untyped(area, dentry))
}

/// As [`keeps`], of an object that would leave its place, with all that is below.
#[inline(always)]
pub(crate) fn keeps_in_place(area: *mut Scratch, dentry: Dentry) -> bool {
    hooks().decide != 0 && is_kept_in_place(ScratchId::of(area), untyped(area, dentry))
}

/// As [`keeps_in_place`], of a directory on which a mount would come or go.
#[inline(always)]
pub(crate) fn keeps_uncovered(area: *mut Scratch, at: KernelPath) -> bool {
    hooks().decide != 0
        && is_in_its_namespace(untyped(area, at.mount))
        && keeps_in_place(area, at.dentry)
}

global! {
    /// Whether a mount is in the recorder's namespace.
    pub(crate) fn is_in_its_namespace(mount: Mount) -> bool {
        let number = mount.node().namespace().number();
        is_listed(OWN_NAMESPACE, u64::from(number), 0)
    }
}

global! {
    fn is_kept_in_place(area: ScratchId, dentry: Dentry) -> bool {
        let is_above = is_inode_listed(OWN_ABOVE, dentry.inode());
        is_above && !is_itself() || is_kept_from(area, dentry)
    }
}

global! {
    fn is_kept_from(area: ScratchId as scratch, dentry: Dentry) -> bool [else false] {
        // SAFETY: a field of a map value.
        let climb = unsafe { &mut (*scratch).climb };
        climb.dentry = dentry;
        climb.is_own = 0;
        go_up(scratch, WALKED_LEVELS);
        // SAFETY: as above.
        let is_own = unsafe { core::ptr::read_volatile(&raw const (*scratch).climb.is_own) };
        is_own != 0 && !is_itself()
    }
}

repeated! {
/// Goes up level by level.
fn go_up[go_up_level, go_up_levels](scratch, _level) {
    // SAFETY: a field of a map value.
    let climb = unsafe { &mut (*scratch).climb };
    let dentry = climb.dentry;
    if is_inode_listed(OWN_TREE, dentry.inode()) {
        climb.is_own = 1;
        return 1;
    }
    let parent = dentry.parent();
    if parent == dentry || parent.is_none() {
        return 1;
    }
    climb.dentry = parent;
    0
}
}

/// As [`keeps`], where nothing else needs an area.
#[inline(always)]
fn keeps_outside(dentry: Dentry) -> bool {
    let mut is_kept = false;
    with_area!(|area| is_kept = keeps(area, dentry));
    is_kept
}

/// A file is to be made, by an open or by mknod(2), or the flags of an inode
/// are to be set: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn changing(dentry: Dentry) -> i32 {
    answer(|| keeps_outside(dentry))
}

/// A file is to be opened: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn opening(file: File) -> i32 {
    answer(|| {
        file.mode() & FMODE_WRITE != 0
            && (keeps_outside(file.path().dentry) || is_about_recorder(file.inode()))
    })
}

/// Whether an inode is of procfs, and of the recorder's own folder there or of
/// one of its threads' (`oom_score_adj`, `mem`, …). A process that ended has none.
#[inline(always)]
fn is_about_recorder(inode: Inode) -> bool {
    if inode.super_block().magic() != PROC_SUPER_MAGIC {
        return false;
    }
    let pid = inode.procfs_pid();
    if pid == 0 {
        return false;
    }
    let task = OtherTask::of_pid(pid);
    !task.is_none() && is_recorder(task)
}

/// A signal is to be sent. Without a number, it is a question.
#[inline(always)]
pub(crate) fn signalling(target: OtherTask, signal: i32) -> i32 {
    answer(|| signal != 0 && is_recorder(target))
}

/// A process is to be looked into, or attached to.
#[inline(always)]
pub(crate) fn attaching(target: OtherTask, mode: u32) -> i32 {
    answer(|| mode & PTRACE_MODE_ATTACH != 0 && is_recorder(target))
}

/// Limits of a process are to be set: with some it is ended (getrlimit(2)).
#[inline(always)]
pub(crate) fn limiting(target: OtherTask) -> i32 {
    answer(|| is_recorder(target))
}

/// bpf(2), with its arguments as the kernel copied them.
#[inline(always)]
pub(crate) fn calling_bpf(command: u32, arguments: u64) -> i32 {
    answer(|| {
        let kind = match command {
            PROGRAM_BY_ID => OWN_PROGRAM,
            MAP_BY_ID => OWN_MAP,
            LINK_BY_ID => OWN_LINK,
            _ => return false,
        };
        let number: u32 = read(arguments, 0);
        is_listed(kind, u64::from(number), 0) && !is_itself()
    })
}

#[inline(always)]
fn is_recorder(target: OtherTask) -> bool {
    is_listed(OWN_PROCESS, u64::from(target.process()), 0) && !is_itself()
}

/// What a hook answers that only decides.
#[inline(always)]
fn answer(harms: impl FnOnce() -> bool) -> i32 {
    if hooks().decide == 0 {
        return 0;
    }
    let Some(actor) = Actor::current() else {
        return 0;
    };
    if harms() {
        return -EPERM;
    }
    enforce::verdict_on(&actor)
}
