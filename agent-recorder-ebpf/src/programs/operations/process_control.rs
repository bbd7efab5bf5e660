//! Records what a session does to other processes and to the kernel's programs:
//! signals, attaching, limits, bpf(2); and the commands of ioctl(2) that destroy,
//! or keep a file from being changed (`guard::irreversible` lists them).
//!
//! The call's exit emits them, in every profile.
//! Not here: their refusal (`guard::self_protection`).

use agent_recorder_abi::event::{CONTROL_NESTED, ControlBody, ControlOp, Kind};
use agent_recorder_abi::syscall::{MARK_PIDFD, ROW_ATTRIBUTES, ROW_SUBVOLUME, ROW_SUBVOLUME_BY_ID};

use crate::context::call::{Call, global};
use crate::event::writer::Writer;
use crate::guard::criteria;
use crate::guard::irreversible::{self, SNAP_DESTROY, SNAP_DESTROY_V2};
use crate::kernel::compat::{Task, walk};
use crate::kernel::read::{bound, offset, read, read_user};
use crate::kernel::types::Fd;

/// `PTRACE_POKEDATA`, `PTRACE_ATTACH` and `PTRACE_SEIZE` (include/uapi/linux/ptrace.h).
const POKEDATA: u32 = 5;
const ATTACH: u32 = 16;
const SEIZE: u32 = 0x4206;
/// `sizeof(struct upid)` (include/linux/pid.h): a number and a namespace's address.
const UPID_BYTES: u64 = 16;
const EBADF: i64 = 9;
/// Masks the level of a namespace of process numbers: 32 at most (`MAX_PID_NS_LEVEL`).
const LEVELS: u64 = 63;

/// Offsets of `btrfs_ioctl_vol_args.name`, and of `flags` and `name` in
/// `btrfs_ioctl_vol_args_v2`, where `subvolid` has the place of `name`.
const NAME: u64 = 8;
const FLAGS_V2: u64 = 16;
const NAME_V2: u64 = 56;
/// `BTRFS_SUBVOL_SPEC_BY_ID`.
const BY_ID: u64 = 1 << 4;

global! {
    /// kill(2) and its kin, ptrace(2), process_vm_writev(2), prlimit(2),
    /// pidfd_getfd(2), bpf(2), as their rows describe them.
    pub(crate) fn controlled(call: &Call) {
        let spec = call.spec();
        let op = u32::from(spec.op);
        // process_vm_writev(2) has no command: it writes another process's memory.
        let command = call
            .optional(spec.flags)
            .map_or(POKEDATA, |command| command as u32);
        let mut target = call.optional(spec.dirfd).unwrap_or(0) as u32;
        let mut marks = 0;
        if spec.marks & MARK_PIDFD != 0 {
            target = of_pidfd(call, Fd::of(u64::from(target)));
        } else if level_of(call.task) != 0 {
            marks = CONTROL_NESTED;
        }
        if op == ControlOp::Signal as u32 {
            // Signal 0 only asks whether the process exists.
            if command == 0 || spec.marks & MARK_PIDFD == 0 && is_itself(call.task, target) {
                return;
            }
        } else if op == ControlOp::Limit as u32 {
            // A call without new limits only asks; limits of the caller itself are not recorded.
            let asks = call.optional(spec.length) == Some(0);
            if asks || target == 0 || is_itself(call.task, target) {
                return;
            }
        } else if op == ControlOp::Ptrace as u32
            && command != ATTACH
            && command != SEIZE
            && command != POKEDATA
        {
            return;
        }
        // A tracer's PTRACE_POKEDATA follows a recorded attach; process_vm_writev(2) needs none.
        if op == ControlOp::Ptrace as u32 && command == POKEDATA && call.optional(spec.flags).is_some() {
            return;
        }
        let writer = Writer::begin::<ControlBody>(call.scratch);
        // SAFETY: `begin` left room for it.
        unsafe {
            *writer.body::<ControlBody>() = ControlBody {
                op,
                command,
                target: target as i32,
                error: call.error(),
                marks,
                spare: 0,
            };
        }
        writer.header(Kind::Control, call.tag);
        writer.submit(Kind::Control, false);
    }
}

/// `task_struct.thread_pid`.
#[inline(always)]
fn pid_of(task: Task) -> u64 {
    // SAFETY: `task` is typed.
    unsafe { walk(task, offset!(task_thread_pid)) }
}

/// How deep the task's namespace of process numbers lies, 0 for the initial one.
#[inline(always)]
fn level_of(task: Task) -> u32 {
    read(pid_of(task), offset!(pid_level))
}

/// The number of a `struct pid` in the namespace of this level.
#[inline(always)]
fn number_of(pid: u64, level: u32) -> u32 {
    let level = bound::<LEVELS>(u64::from(level));
    read(pid + level * UPID_BYTES, offset!(pid_numbers))
}

/// Whether this number is the task's own, or its process's, in the task's namespace.
#[inline(always)]
fn is_itself(task: Task, target: u32) -> bool {
    let level = level_of(task);
    // SAFETY: `task` is typed.
    let leader: Task = unsafe { walk(task, offset!(task_leader)) };
    target == number_of(pid_of(task), level) || target == number_of(pid_of(leader), level)
}

/// The process of a pidfd, by its number in the initial namespace. 0 is
/// unknown, as for a folder of procfs, which calls accept as a pidfd.
#[inline(always)]
fn of_pidfd(call: &Call, fd: Fd) -> u32 {
    let file = fd.file(call.task);
    let is_directory = file.inode().is_directory();
    if file.is_none() || call.result == -EBADF || is_directory {
        return 0;
    }
    // Since 6.9 pidfs keeps the `struct pid` in the inode.
    let pid: u64 = file.inode().private();
    let pid = if pid == 0 { file.private() } else { pid };
    number_of(pid, 0)
}

/// Whether an ioctl(2) is one that is recorded.
#[inline(always)]
pub(crate) fn is_recorded(call: &Call) -> bool {
    let command = call.argument(1) as u32;
    irreversible::is_destroying(command) || irreversible::is_setting_flags(command)
}

global! {
    /// Makes a recorded ioctl(2) the file operation that it is, for
    /// `file_exit::operated`. It runs before that, whose stack has no room for it.
    pub(crate) fn commanded(call: &Call) {
        let (command, argument) = (call.argument(1) as u32, call.argument(2));
        if irreversible::is_setting_flags(command) {
            give(call, 3, u64::from(read_user::<u32>(argument)));
            as_row(call, ROW_ATTRIBUTES);
            return;
        }
        if command == SNAP_DESTROY {
            give(call, 2, argument + NAME);
            as_row(call, ROW_SUBVOLUME);
        } else if command == SNAP_DESTROY_V2 {
            if read_user::<u64>(argument + FLAGS_V2) & BY_ID != 0 {
                give(call, 3, read_user(argument + NAME_V2));
                as_row(call, ROW_SUBVOLUME_BY_ID);
            } else {
                give(call, 2, argument + NAME_V2);
                as_row(call, ROW_SUBVOLUME);
            }
        } else {
            // The commands that discard point to a start and a length.
            give(call, 3, read_user(argument + 8));
        }
        if call.result >= 0 {
            criteria::count(irreversible::criterion(command), call.tag.session, 0, 0);
        }
    }
}

/// Sets an argument that a row describes and the call lacks.
#[inline(always)]
fn give(call: &Call, index: usize, value: u64) {
    // SAFETY: `index` is 2 or 3, of the eight elements in a map value.
    unsafe {
        core::ptr::write_volatile(
            (&raw mut (*call.scratch).arguments)
                .cast::<u64>()
                .add(index),
            value,
        );
    }
}

/// Leaves the call in its area with another row.
#[inline(always)]
fn as_row(call: &Call, row: u32) {
    Call { row, ..*call }.keep();
}
