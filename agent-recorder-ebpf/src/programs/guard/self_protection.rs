//! What members of sessions are refused because it would harm the recorder:
//! signals, attaches and limits to it, changes of its files, mounts over them,
//! bpf(2) calls that get at its programs, maps and links.
//!
//! Only where what a hook answers is the kernel's answer. Not here: telling of
//! it, which the act's own record does. A recorder that is in a session itself
//! goes on with its work.

use agent_recorder_abi::limits::WALKED_LEVELS;
use agent_recorder_abi::self_protection::{
    OWN_ABOVE, OWN_LINK, OWN_MAP, OWN_NAMESPACE, OWN_PROCESS, OWN_PROGRAM, OWN_TREE, OwnKey,
};
use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::context::areas::{area_of, number_of, repeated, with_area};
use crate::context::maps;
use crate::context::scratch::Scratch;
use crate::guard::enforce::{self, EPERM};
use crate::kernel::compat::current;
use crate::kernel::inode::place_key;
use crate::kernel::path::{self, KernelPath};
use crate::kernel::read::{hooks, offset, read};
use crate::kernel::uapi::{FMODE_WRITE, PROC_SUPER_MAGIC};
use crate::session::tag;

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
fn is_inode_listed(kind: u32, inode: u64) -> bool {
    if inode == 0 {
        return false;
    }
    let key = place_key(inode);
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
pub(crate) fn keeps(area: *mut Scratch, dentry: u64) -> bool {
    hooks().decide != 0 && is_kept_from(area_of(area), number_of(area, dentry)) != 0
}

/// As [`keeps`], of an object that would leave its place, with all that is below.
#[inline(always)]
pub(crate) fn keeps_in_place(area: *mut Scratch, dentry: u64) -> bool {
    hooks().decide != 0 && is_kept_in_place(area_of(area), number_of(area, dentry)) != 0
}

/// As [`keeps_in_place`], of a directory on which a mount would come or go.
#[inline(always)]
pub(crate) fn keeps_uncovered(area: *mut Scratch, at: KernelPath) -> bool {
    hooks().decide != 0
        && is_in_its_namespace(number_of(area, at.mount)) != 0
        && keeps_in_place(area, at.dentry)
}

/// Whether a mount is in the recorder's namespace. A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn is_in_its_namespace(mount: u64) -> u64 {
    let namespace: u64 = read(mount - offset!(mount_mnt) as u64, offset!(mount_ns));
    let number: u32 = read(namespace, offset!(mount_ns_inum));
    u64::from(is_listed(OWN_NAMESPACE, u64::from(number), 0))
}

/// A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_kept_in_place(area: u32, dentry: u64) -> u64 {
    let is_above = is_inode_listed(OWN_ABOVE, read(dentry, offset!(dentry_inode)));
    u64::from(is_above && !is_itself() || is_kept_from(area, dentry) != 0)
}

/// A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_kept_from(area: u32, dentry: u64) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    // SAFETY: a field of a map value.
    let climb = unsafe { &mut (*scratch).climb };
    climb.dentry = dentry;
    climb.is_own = 0;
    go_up(scratch, WALKED_LEVELS);
    // SAFETY: as above.
    let is_own = unsafe { core::ptr::read_volatile(&raw const (*scratch).climb.is_own) };
    u64::from(is_own != 0 && !is_itself())
}

repeated! {
/// Goes up level by level.
fn go_up[go_up_level, go_up_levels](scratch, _level) {
    // SAFETY: a field of a map value.
    let climb = unsafe { &mut (*scratch).climb };
    let dentry = climb.dentry;
    if is_inode_listed(OWN_TREE, read(dentry, offset!(dentry_inode))) {
        climb.is_own = 1;
        return 1;
    }
    let parent: u64 = read(dentry, offset!(dentry_parent));
    if parent == dentry || parent == 0 {
        return 1;
    }
    climb.dentry = parent;
    0
}
}

/// As [`keeps`], where nothing else needs an area.
#[inline(always)]
fn keeps_outside(dentry: u64) -> bool {
    let mut is_kept = false;
    with_area!(|area| is_kept = keeps(area, dentry));
    is_kept
}

/// A file is to be made, by an open or by mknod(2), or the flags of an inode
/// are to be set: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn changing(dentry: u64) -> i32 {
    answer(|| keeps_outside(dentry))
}

/// A file is to be opened: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn opening(file: u64) -> i32 {
    answer(|| {
        read::<u32>(file, offset!(file_mode)) & FMODE_WRITE != 0
            && (keeps_outside(path::of_file(file).dentry)
                || is_about_recorder(read(file, offset!(file_inode))))
    })
}

/// Whether an inode is of procfs, and of the recorder's own folder there or of
/// one of its threads' (`oom_score_adj`, `mem`, …). A process that ended has none.
#[inline(always)]
fn is_about_recorder(inode: u64) -> bool {
    if read::<u64>(read(inode, offset!(inode_sb)), offset!(sb_magic)) != PROC_SUPER_MAGIC {
        return false;
    }
    let pid: u64 = read(inode - offset!(proc_inode) as u64, offset!(proc_pid));
    if pid == 0 {
        return false;
    }
    // `PIDTYPE_PID` is the first of both: of a thread's number, that thread.
    let link: u64 = read(pid, offset!(pid_tasks));
    link != 0 && is_recorder(link - offset!(task_pid_links) as u64)
}

/// A signal is to be sent. Without a number, it is a question.
#[inline(always)]
pub(crate) fn signalling(target: u64, signal: i32) -> i32 {
    answer(|| signal != 0 && is_recorder(target))
}

/// A process is to be looked into, or attached to.
#[inline(always)]
pub(crate) fn attaching(target: u64, mode: u32) -> i32 {
    answer(|| mode & PTRACE_MODE_ATTACH != 0 && is_recorder(target))
}

/// Limits of a process are to be set: with some it is ended (getrlimit(2)).
#[inline(always)]
pub(crate) fn limiting(target: u64) -> i32 {
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
fn is_recorder(target: u64) -> bool {
    let process: u32 = read(target, offset!(task_tgid));
    is_listed(OWN_PROCESS, u64::from(process), 0) && !is_itself()
}

/// What a hook answers that only decides.
#[inline(always)]
fn answer(harms: impl FnOnce() -> bool) -> i32 {
    if hooks().decide == 0 {
        return 0;
    }
    let Some(tag) = tag::tag_of(current()) else {
        return 0;
    };
    if harms() {
        return -EPERM;
    }
    enforce::verdict_on(tag)
}
