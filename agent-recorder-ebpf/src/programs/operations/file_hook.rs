//! What the security hooks see: the object itself, with its mount, before it is acted on.
//!
//! The result comes later, at the exit of the call or with the completion of
//! the request, as in every profile; user space joins the two. So io_uring
//! and 32-bit callers need nothing of their own here. What fails before the
//! hook (no such file, a name too long) has no object to see.

use agent_recorder_abi::event::{
    FILE_IN_FILE_SYSTEM, FILE_KERNEL_PATH, FileBody, Kind, Op, REPLACED_NOTHING,
    REPLACED_SOMETHING, REPLACED_UNKNOWN, VIA_SYSCALL, VIA_URING,
};
use agent_recorder_abi::limits::XATTR_NAME_BYTES;

use crate::context::areas::{untyped, with_area};
use crate::context::maps;
use crate::context::scratch::{Scratch, ScratchId};
use crate::event::dentry_walk;
use crate::event::writer::Writer;
use crate::guard::verdict::Verdict;
use crate::guard::{enforce, pre_op, self_protection};
use crate::kernel::read::hooks;
use crate::kernel::types::{Dentry, Inode, KernelPath, Mount};
use crate::kernel::uapi::{S_IFMT, S_IFREG};
use crate::session::actor::Actor;

/// mknod(2). An open that creates a file passes the same hook, and is recorded at its exit.
#[inline(always)]
pub(crate) fn making(directory: u64, dentry: Dentry, mode: u32) -> i32 {
    let kind = mode & u32::from(S_IFMT);
    if kind != 0 && kind != u32::from(S_IFREG) {
        made(Op::Create, KernelPath::within(directory, dentry))
    } else {
        self_protection::changing(dentry)
    }
}

/// A program is to be started.
#[inline(always)]
pub(crate) fn starting(object: KernelPath) -> i32 {
    let observation = Observation::of(Op::Exec, object, KernelPath::NONE);
    acting(&observation, |_, _| Verdict::Admitted)
}

/// An object's own state is to be changed: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn changing(op: Op, object: KernelPath) -> i32 {
    let observation = Observation::of(op, object, KernelPath::NONE);
    acting(&observation, |area, _| {
        Verdict::refused_if(self_protection::keeps(area, object.dentry))
    })
}

/// A mount is to come or go: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn mounting(op: Op, at: KernelPath) -> i32 {
    let observation = Observation::of(op, at, KernelPath::NONE);
    acting(&observation, |area, _| {
        Verdict::refused_if(self_protection::keeps_uncovered(area, at))
    })
}

/// Records what a member of a session is about to act on, and answers by the
/// verdict on the act.
#[inline(always)]
fn acting(observation: &Observation, judge: impl FnOnce(*mut Scratch, &Actor) -> Verdict) -> i32 {
    let Some(actor) = Actor::current() else {
        return 0;
    };
    let mut verdict = Verdict::Admitted;
    with_area!(|area| {
        report(area, &actor, observation);
        verdict = judge(area, &actor);
    });
    answer(&actor, verdict)
}

/// Something is to be made.
#[inline(always)]
pub(crate) fn made(op: Op, object: KernelPath) -> i32 {
    let observation = Observation::of(op, object, KernelPath::NONE);
    acting(&observation, |area, actor| {
        if self_protection::keeps(area, object.dentry) {
            return Verdict::Refused;
        }
        let dentry = untyped(area, object.dentry);
        pre_op::foresee_making(ScratchId::of(area), actor.key(), dentry, op as u32);
        Verdict::Admitted
    })
}

/// Contents are to be cut. An open with O_TRUNC passes here, too, and is recorded at its exit.
#[inline(always)]
pub(crate) fn cutting(object: KernelPath) -> i32 {
    let observation = Observation::of(Op::Truncate, object, KernelPath::NONE);
    acting(&observation, |area, actor| {
        if self_protection::keeps(area, object.dentry) {
            return Verdict::Refused;
        }
        let (session, dentry) = (actor.tag.session, untyped(area, object.dentry));
        pre_op::foresee_cut(ScratchId::of(area), session, actor.key(), dentry);
        Verdict::Admitted
    })
}

/// A second name is to lead to an object, instead of the first
/// (`MOVE_REPLACES`) or beside it: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn moving(op: Op, first: KernelPath, second: KernelPath, replaces: bool) -> i32 {
    let observation = Observation::of(op, first, second);
    acting(&observation, |area, actor| {
        if self_protection::keeps_in_place(area, first.dentry)
            || self_protection::keeps_in_place(area, second.dentry)
        {
            return Verdict::Refused;
        }
        let replaces = if replaces { pre_op::MOVE_REPLACES } else { 0 };
        let restores = if actor.tag.restores != 0 {
            pre_op::MOVE_RESTORES
        } else {
            0
        };
        let (old, new) = (untyped(area, first.dentry), untyped(area, second.dentry));
        let session = actor.tag.session;
        pre_op::foresee_move(ScratchId::of(area), session, old, new, replaces | restores)
    })
}

/// An extended attribute is to be set or removed: of an object whose mount the
/// hook does not tell. Before 5.12 it has one argument less.
#[inline(always)]
pub(crate) fn attribute(first: u64, second: u64, third: u64) -> i32 {
    let (dentry, name) = if cfg!(feature = "old-kernel") {
        (Dentry::at(first), second)
    } else {
        (Dentry::at(second), third)
    };
    let object = KernelPath {
        mount: Mount::NONE,
        dentry,
    };
    let observation = Observation {
        name,
        ..Observation::of(Op::Xattr, object, KernelPath::NONE)
    };
    acting(&observation, |area, _| {
        Verdict::refused_if(self_protection::keeps(area, dentry))
    })
}

/// A name is to be removed: 0, or an error that refuses it.
#[inline(always)]
pub(crate) fn removing(op: Op, object: KernelPath) -> i32 {
    let observation = Observation::of(op, object, KernelPath::NONE);
    acting(&observation, |area, actor| {
        if self_protection::keeps(area, object.dentry) {
            return Verdict::Refused;
        }
        pre_op::foresee_removal(
            ScratchId::of(area),
            actor.tag.session,
            actor.key(),
            untyped(area, object.dentry),
            actor.tag.restores,
        )
    })
}

/// Where nothing is refused, the verifier must see that it is not.
#[inline(always)]
fn answer(actor: &Actor, admitted: Verdict) -> i32 {
    if admitted == Verdict::Refused && hooks().decide != 0 {
        enforce::refusal(actor)
    } else {
        enforce::verdict_on(actor)
    }
}

/// What is about to be acted on.
#[derive(Clone, Copy)]
struct Observation {
    op: Op,
    first: KernelPath,
    second: KernelPath,
    /// Address of an attribute's name, 0 for none.
    name: u64,
}

impl Observation {
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

/// What a rename of this inode is about to do to what has the new name.
#[inline(always)]
fn replaced_by(observation: Observation, inode: Inode) -> u16 {
    if observation.op as u8 != Op::Rename as u8 {
        return REPLACED_UNKNOWN;
    }
    let stands_there = observation.second.dentry.inode();
    if stands_there.is_none() || stands_there == inode {
        REPLACED_NOTHING
    } else {
        REPLACED_SOMETHING
    }
}

#[inline(never)]
fn report(area: *mut Scratch, actor: &Actor, observation: &Observation) {
    let (actor, observation) = (*actor, *observation);
    let mut writer = Writer::begin::<FileBody>(area);
    let inode = observation.first.dentry.inode();
    let token = maps::URING
        .get_ptr(&actor.request.address())
        // SAFETY: a map value, checked not null.
        .map_or(0, |kept| unsafe { (*kept).token });
    let first = dentry_walk::append(&mut writer, observation.first);
    let second = dentry_walk::append(&mut writer, observation.second);
    let extra_len = if observation.name == 0 {
        0
    } else {
        writer
            .kernel_string::<XATTR_NAME_BYTES>(observation.name)
            .unwrap_or(0)
    };
    let inside = if observation.first.mount.is_none() {
        FILE_IN_FILE_SYSTEM
    } else {
        0
    };
    // SAFETY: `begin` left room for it.
    unsafe {
        *writer.body::<FileBody>() = FileBody {
            op: observation.op as u8,
            via: if token == 0 { VIA_SYSCALL } else { VIA_URING },
            marks: FILE_KERNEL_PATH | first.mark() | second.second_mark() | inside,
            extra_len,
            token,
            ino: inode.number(),
            dev: inode.device(),
            base_len: first.len,
            omitted: first.omitted,
            base2_len: second.len,
            replaced: replaced_by(observation, inode),
            omitted2: second.omitted,
            ..FileBody::default()
        };
    }
    let kind = match observation.op {
        // In the ring in which its result comes.
        Op::Delete | Op::Rmdir | Op::Exec => Kind::Victim,
        _ => Kind::Object,
    };
    writer.header(kind, actor.tag);
    writer.submit(kind, false);
}
