//! What the security hooks see: the object itself, with its mount, before it is acted on.
//!
//! The result comes later, at the exit of the call or with the completion of
//! the request, as in every profile; user space joins the two. So io_uring
//! and 32-bit callers need nothing of their own here. What fails before the
//! hook (no such file, a name too long) has no object to see.

use agent_recorder_abi::event::{
    FILE_IN_FILE_SYSTEM, FILE_KERNEL_PATH, FileBody, Kind, Op, VIA_SYSCALL, VIA_URING,
};
use agent_recorder_abi::kernel_fields::ABSENT;
use agent_recorder_abi::limits::XATTR_NAME_BYTES;
use agent_recorder_abi::state::Tag;

use crate::context::maps;
use crate::event::dentry_walk::{self, KernelPath};
use crate::event::writer::{Scratch, Writer, number_of, with_area};
use crate::guard::budget;
use crate::guard::ownership;
use crate::guard::pre_op;
use crate::guard::self_protection;
use crate::kernel::read::{Task, current, hooks, offset, read, walk};
use crate::session::tag;

/// `PF_IO_WORKER` (include/linux/sched.h, 5.10).
const PF_IO_WORKER: u32 = 0x10;
/// Kinds of files in a mode (inode(7)).
const S_IFMT: u32 = 0o170_000;
const S_IFREG: u32 = 0o100_000;

/// A name in the directory that a `struct path` at this address holds.
#[inline(always)]
pub(crate) fn within(directory: u64, dentry: u64) -> KernelPath {
    KernelPath {
        mount: read(directory, offset!(path_mnt)),
        dentry,
    }
}

/// A mount's own root.
#[inline(always)]
pub(crate) fn root_of(mount: u64) -> KernelPath {
    KernelPath {
        mount,
        dentry: read(mount, offset!(vfsmount_root)),
    }
}

/// mknod(2). An open that makes a file passes the same hook, and tells of it itself.
#[inline(always)]
pub(crate) fn making(directory: u64, dentry: u64, mode: u32) -> i32 {
    if mode & S_IFMT != 0 && mode & S_IFMT != S_IFREG {
        made(Op::Create, within(directory, dentry))
    } else {
        self_protection::changing(dentry)
    }
}

/// A program is to be started.
#[inline(always)]
pub(crate) fn starting(object: KernelPath) -> i32 {
    acting(&Sight::of(Op::Exec, object, KernelPath::NONE), |_| false)
}

/// An object's own state is to be changed: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn changing(op: Op, object: KernelPath) -> i32 {
    acting(&Sight::of(op, object, KernelPath::NONE), |area| {
        self_protection::keeps(area, object.dentry)
    })
}

/// A mount is to come or go: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn mounting(op: Op, at: KernelPath) -> i32 {
    acting(&Sight::of(op, at, KernelPath::NONE), |area| {
        self_protection::keeps_uncovered(area, at)
    })
}

#[inline(always)]
fn acting(sight: &Sight, is_kept: impl FnOnce(*mut Scratch) -> bool) -> i32 {
    let Some(doer) = Doer::current() else {
        return 0;
    };
    let mut admitted = 1;
    with_area!(|area| {
        report(area, &doer, sight);
        admitted = u64::from(!is_kept(area));
    });
    answer(&doer, admitted)
}

/// Something is to be made.
#[inline(always)]
pub(crate) fn made(op: Op, object: KernelPath) -> i32 {
    let Some(doer) = Doer::current() else {
        return 0;
    };
    let sight = Sight::of(op, object, KernelPath::NONE);
    let mut admitted = 1;
    with_area!(|area| {
        report(area, &doer, &sight);
        if self_protection::keeps(area, object.dentry) {
            admitted = 0;
        } else {
            let dentry = number_of(area, object.dentry);
            pre_op::foresee_making(ownership::area_of(area), doer.key(), dentry, op as u32);
        }
    });
    answer(&doer, admitted)
}

/// Contents are to be cut. An open with O_TRUNC passes here, too, and tells of it itself.
#[inline(always)]
pub(crate) fn cutting(object: KernelPath) -> i32 {
    let Some(doer) = Doer::current() else {
        return 0;
    };
    let sight = Sight::of(Op::Truncate, object, KernelPath::NONE);
    let mut admitted = 1;
    with_area!(|area| {
        report(area, &doer, &sight);
        if self_protection::keeps(area, object.dentry) {
            admitted = 0;
        } else {
            let (session, dentry) = (doer.tag.session, number_of(area, object.dentry));
            pre_op::foresee_cut(ownership::area_of(area), session, doer.key(), dentry);
        }
    });
    answer(&doer, admitted)
}

/// A second name is to lead to an object, instead of the first
/// (`MOVE_REPLACES`) or beside it: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn moving(op: Op, first: KernelPath, second: KernelPath, replaces: bool) -> i32 {
    let Some(doer) = Doer::current() else {
        return 0;
    };
    let sight = Sight::of(op, first, second);
    let mut admitted = 1;
    let operation = if replaces { pre_op::MOVE_REPLACES } else { 0 }
        | if doer.tag.restores != 0 {
            pre_op::MOVE_RESTORES
        } else {
            0
        };
    with_area!(|area| {
        report(area, &doer, &sight);
        let is_kept = self_protection::keeps_in_place(area, first.dentry)
            || self_protection::keeps_in_place(area, second.dentry);
        if is_kept {
            admitted = 0;
        } else {
            let (old, new) = (
                number_of(area, first.dentry),
                number_of(area, second.dentry),
            );
            admitted = pre_op::foresee_move(
                ownership::area_of(area),
                doer.tag.session,
                old,
                new,
                operation,
            );
        }
    });
    answer(&doer, admitted)
}

/// An extended attribute is to be set or removed: of an object whose mount the
/// hook does not tell. Before 5.12 it has one argument less.
#[inline(always)]
pub(crate) fn attribute(first: u64, second: u64, third: u64) -> i32 {
    let (dentry, name) = if cfg!(feature = "old-kernel") {
        (first, second)
    } else {
        (second, third)
    };
    let object = KernelPath { mount: 0, dentry };
    let sight = Sight {
        name,
        ..Sight::of(Op::Xattr, object, KernelPath::NONE)
    };
    acting(&sight, |area| self_protection::keeps(area, dentry))
}

/// A name is to be removed: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn removing(op: Op, object: KernelPath) -> i32 {
    let Some(doer) = Doer::current() else {
        return 0;
    };
    let sight = Sight::of(op, object, KernelPath::NONE);
    let mut admitted = 1;
    with_area!(|area| {
        report(area, &doer, &sight);
        if self_protection::keeps(area, object.dentry) {
            admitted = 0;
        } else {
            let dentry = number_of(area, object.dentry);
            admitted = pre_op::foresee_removal(
                ownership::area_of(area),
                doer.tag.session,
                doer.key(),
                dentry,
                doer.tag.restores,
            );
        }
    });
    answer(&doer, admitted)
}

/// Where nothing is refused, the verifier must see that it is not.
#[inline(always)]
fn answer(doer: &Doer, admitted: u64) -> i32 {
    if admitted == 0 && hooks().decide != 0 {
        -budget::EPERM
    } else {
        budget::verdict_on(doer.tag)
    }
}

/// What is about to be acted on.
#[derive(Clone, Copy)]
struct Sight {
    op: Op,
    first: KernelPath,
    second: KernelPath,
    /// Address of an attribute's name, 0 for none.
    name: u64,
}

impl Sight {
    #[inline(always)]
    fn of(op: Op, first: KernelPath, second: KernelPath) -> Self {
        Self {
            op,
            first,
            second,
            name: 0,
        }
    }
}

/// Who acts.
#[derive(Clone, Copy)]
pub(crate) struct Doer {
    pub(crate) task: Task,
    pub(crate) tag: Tag,
    /// The request of io_uring in which it acts, 0 for a system call of its own.
    pub(crate) request: u64,
}

impl Doer {
    /// The running task, if it is in a session.
    #[inline(always)]
    pub(crate) fn current() -> Option<Self> {
        if hooks().see == 0 {
            return None;
        }
        let task = current();
        let tag = tag::tag_of(task)?;
        Some(Self {
            task,
            tag,
            request: request_of(task, tag),
        })
    }

    /// Names the operation until its exit.
    #[inline(always)]
    fn key(&self) -> u64 {
        if self.request == 0 {
            pre_op::of_thread()
        } else {
            self.request
        }
    }
}

/// A worker of io_uring says which request it works on; a submitter was seen to submit it.
#[inline(always)]
pub(crate) fn request_of(task: Task, tag: Tag) -> u64 {
    let (worker_at, work_at) = (offset!(task_worker), offset!(worker_work));
    // SAFETY: `task` is typed.
    let is_worker = unsafe { walk::<u32>(task, offset!(task_flags)) } & PF_IO_WORKER != 0;
    if !is_worker || worker_at == ABSENT as usize || work_at == ABSENT as usize {
        return tag.request;
    }
    // SAFETY: as above.
    let work: u64 = read(unsafe { walk(task, worker_at) }, work_at);
    if work == 0 {
        0
    } else {
        work - offset!(kiocb_work) as u64
    }
}

#[inline(never)]
fn report(area: *mut Scratch, doer: &Doer, sight: &Sight) {
    let (doer, sight) = (*doer, *sight);
    let mut writer = Writer::begin::<FileBody>(area);
    let inode: u64 = read(sight.first.dentry, offset!(dentry_inode));
    let token = maps::URING
        .get_ptr(&doer.request)
        // SAFETY: a map value, checked not null.
        .map_or(0, |kept| unsafe { (*kept).token });
    let first = dentry_walk::append(&mut writer, sight.first);
    let second = dentry_walk::append(&mut writer, sight.second);
    let extra_len = if sight.name == 0 {
        0
    } else {
        writer
            .kernel_string::<XATTR_NAME_BYTES>(sight.name)
            .unwrap_or(0)
    };
    let inside = if sight.first.mount == 0 {
        FILE_IN_FILE_SYSTEM
    } else {
        0
    };
    // SAFETY: `begin` left room for it.
    unsafe {
        *writer.body::<FileBody>() = FileBody {
            op: sight.op as u8,
            via: if token == 0 { VIA_SYSCALL } else { VIA_URING },
            marks: FILE_KERNEL_PATH | first.mark() | inside,
            extra_len,
            token,
            ino: read(inode, offset!(inode_ino)),
            dev: read(read(inode, offset!(inode_sb)), offset!(sb_dev)),
            base_len: first.len,
            omitted: first.omitted,
            base2_len: second.len,
            ..FileBody::default()
        };
    }
    let kind = match sight.op {
        // In the ring in which its result comes.
        Op::Delete | Op::Rmdir | Op::Exec => Kind::Victim,
        _ => Kind::Object,
    };
    writer.header(kind, doer.tag);
    writer.submit(kind, false);
}
