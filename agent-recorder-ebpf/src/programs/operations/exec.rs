//! exec: which program was started, by whom, and what it makes of its process.
//!
//! Not here: the match with agent rules (`exec_match`), and the gate (`guard::exec_gate`).

use agent_recorder_abi::event::{
    EXEC_ARGV_CUT, EXEC_FILELESS, EXEC_FILENAME_CUT, ExecBody, Kind, SessionBody, Trouble,
    VIA_SYSCALL,
};
use agent_recorder_abi::limits::{
    ARGV_BYTES, FAILED_EXEC_ARG_BYTES, FAILED_EXEC_ARGS, NAME_KEY_BYTES, USER_PATH_BYTES,
};
use agent_recorder_abi::policy::{NAME_VERB, NameKey, PROGRAM_RESTORES};
use agent_recorder_abi::state::Tag;
use agent_recorder_abi::written_file::{HEIR_BY_FILE, HEIR_BY_NAME};
use aya_ebpf::helpers::generated::{bpf_ktime_get_boot_ns, bpf_probe_read_user_str};

use crate::context::areas::{NAME_BYTES, buffer_of, with_area};
use crate::context::call::{Call, global};
use crate::context::maps;
use crate::context::scratch::{Program, Scratch, ScratchId, Strings};
use crate::event::dentry_walk;
use crate::event::location::is_cut_path;
use crate::event::writer::Writer;
use crate::guard::{enforce, exec_gate, pending_cuts, written_files};
use crate::kernel::compat::{Task, current, drop_tag_of, walk};
use crate::kernel::counters::trouble;
use crate::kernel::read::{offset, read_user};
use crate::kernel::replica::{Event, Replica, is_ours, mark_of};
use crate::kernel::types::{File, KernelPath};
use crate::operations::exec_match::{self, match_rules};
use crate::operations::fd_table;
use crate::session::tag;

/// A program was started: the task `this` runs it next.
#[inline(always)]
pub(crate) fn succeeded(replica: Replica, this: Task, old_pid: u32, binprm: *const u8) {
    if !is_ours(replica, this, Event::Exec) {
        return;
    }
    drop_tag_of(old_pid, this);
    // SAFETY: `this` and `binprm` are arguments of the hook, typed.
    let (strings, exe, filename) = unsafe {
        let mm: *const u8 = walk(this, offset!(task_mm));
        if mm.is_null() {
            return;
        }
        let strings = Strings {
            arg_start: walk(mm, offset!(mm_arg_start)),
            arg_end: walk(mm, offset!(mm_arg_end)),
            env_start: walk(mm, offset!(mm_env_start)),
            env_end: walk(mm, offset!(mm_env_end)),
        };
        (
            strings,
            File::at(walk(mm, offset!(mm_exe))),
            walk::<u64>(binprm, offset!(binprm_filename)),
        )
    };
    let program = Program {
        strings,
        exe,
        filename,
    };
    with_area!(|scratch| {
        // SAFETY: `scratch` is a map value.
        unsafe { (*scratch).program = program };
        let area = ScratchId::of(scratch);
        let found = look_at(area, mark_of(replica, Event::Exec));
        exec_gate::stop_if_gated(area, found);
        emit_heir(area, found);
        // It runs after `look_at`, whose stack has no room for it on 5.10.
        let this = current();
        if let Some(tag) = tag::tag_of(this) {
            pending_cuts::closed_by_exec(scratch, this, tag);
        }
    });
}

global! {
    /// Matches the program that the running task has become; in a session, tags the task and
    /// emits the exec. Returns what `match_rules` found, or 0 if the task could not be tagged.
    fn look_at(area: ScratchId as scratch, mark: u32) -> u64 [else 0] {
        looked_at(scratch, area, mark)
    }
}

#[inline(always)]
fn looked_at(scratch: *mut Scratch, area: ScratchId, mark: u32) -> u64 {
    let this = current();
    let existing = tag::tag_of(this);
    let found = match_rules(area, u32::from(existing.is_some()));
    let rule = exec_match::rule_in(found) as u32;
    // SAFETY: the helper takes nothing.
    let image = unsafe { bpf_ktime_get_boot_ns() };
    let tag = match existing {
        // The marks of `replica` stay.
        Some(tag) => Tag {
            handled: tag.handled,
            restores: u32::from(match restores(area) {
                VERB_RESTORES => true,
                // `git stash -u` starts `git clean` with no shell between: what
                // that removes is kept.
                VERB_OTHER => tag.restores != 0,
                _ => false,
            }),
            // A held program that was woken before its judgement ends here.
            held: tag.held,
            ..Tag::new(tag.session, image)
        },
        None => {
            if rule == 0 {
                return found;
            }
            let Some(session) = tag::new_session() else {
                return 0;
            };
            Tag {
                handled: mark,
                ..Tag::new(session, image)
            }
        }
    };
    if !tag::set_tag(this, tag) {
        return 0;
    }
    let call = Call::without_row(scratch, this, tag, VIA_SYSCALL);
    call.keep();
    if existing.is_none() {
        emit_session(&call, rule);
    }
    emit_exec(&call, rule);
    fd_table::closed_by_exec(scratch, this, tag);
    enforce::enforce(tag);
    found
}

#[inline(always)]
fn emit_session(call: &Call, rule: u32) {
    let writer = Writer::begin::<SessionBody>(call.scratch);
    writer.header(Kind::Session, call.tag);
    // SAFETY: `begin` left room for it.
    unsafe { *writer.body::<SessionBody>() = SessionBody { rule, spare: 0 } };
    writer.submit(Kind::Session, true);
}

global! {
fn emit_exec(call: &Call, rule: u32) {
    // SAFETY: `call.scratch` is a map value.
    let Program { exe, strings, filename } = unsafe { (*call.scratch).program };
    let mut writer = Writer::begin::<ExecBody>(call.scratch);
    let body = writer.body::<ExecBody>();
    let exe_path = dentry_walk::append(&mut writer, exe.path());
    let filename_len = writer
        .kernel_string::<USER_PATH_BYTES>(filename)
        .unwrap_or(0);
    let cwd = dentry_walk::append(&mut writer, KernelPath::working_directory(call.task));
    let argv_bytes = strings.arg_end.wrapping_sub(strings.arg_start);
    let argv_len = writer.user_bytes::<{ ARGV_BYTES as u64 - 1 }>(strings.arg_start, argv_bytes);
    let inode = exe.inode();
    let mut flags = filename_flags(filename_len);
    if u64::from(argv_len) < argv_bytes {
        flags |= EXEC_ARGV_CUT;
    }
    if inode.links() == 0 {
        flags |= EXEC_FILELESS;
    }
    // SAFETY: `begin` left room for it.
    unsafe {
        *body = ExecBody {
            error: 0,
            flags,
            rule,
            dev: inode.device(),
            ino: inode.number(),
            argv_bytes,
            exe_omitted: exe_path.omitted,
            cwd_omitted: cwd.omitted,
            exe_len: exe_path.len,
            filename_len,
            cwd_len: cwd.len,
            argv_len,
        };
    }
    writer.header(Kind::Exec, call.tag);
    if rule & (HEIR_BY_FILE | HEIR_BY_NAME) == 0 {
        writer.submit(Kind::Exec, false);
    } else if !writer.submit_to_gate() {
        trouble(Trouble::GateFull);
    }
}
}

global! {
    /// Emits the exec of the running task, if its program makes the task an heir.
    fn emit_heir(area: ScratchId as scratch, found: u64) {
        let this = current();
        let own = tag::tag_of(this).map_or(0, |tag| tag.session);
        // SAFETY: `scratch` is a map value.
        let exe = unsafe { (*scratch).program.exe };
        let Some((writer, mark)) = written_files::met(exe, found, own) else {
            return;
        };
        if own == 0 && written_files::is_emitted(this) {
            return;
        }
        let call = Call::without_row(scratch, this, Tag::new(writer, 0), VIA_SYSCALL);
        call.keep();
        emit_exec(&call, mark);
    }
}

global! {
    /// execve(2) failed: the arguments are still in the caller's memory.
    pub(crate) fn exec_failed(call: &Call, filename: u64, argv: u64) {
        let mut writer = Writer::begin::<ExecBody>(call.scratch);
        let body = writer.body::<ExecBody>();
        let filename_len = writer.user_string::<USER_PATH_BYTES>(filename).unwrap_or(0);
        let cwd = dentry_walk::append(&mut writer, KernelPath::working_directory(call.task));
        let start = writer.position();
        let cut = append_argv(&mut writer, argv, call.compat);
        // SAFETY: `begin` left room for it.
        unsafe {
            *body = ExecBody {
                error: call.error(),
                flags: if cut { EXEC_ARGV_CUT } else { 0 } | filename_flags(filename_len),
                rule: 0,
                dev: 0,
                ino: 0,
                argv_bytes: 0,
                exe_omitted: 0,
                cwd_omitted: cwd.omitted,
                exe_len: 0,
                filename_len,
                cwd_len: cwd.len,
                argv_len: (writer.position() - start) as u16,
            };
        }
        writer.header(Kind::Exec, call.tag);
        writer.submit(Kind::Exec, false);
    }
}

/// `EXEC_…` by a filename's length. An execveat(2) that succeeds can have a longer one
/// than a call takes: the kernel puts `/dev/fd/N/` before it (`alloc_bprm()`, fs/exec.c).
#[inline(always)]
fn filename_flags(length: u16) -> u32 {
    if is_cut_path(length) {
        EXEC_FILENAME_CUT
    } else {
        0
    }
}

/// Appends the strings of an argv array. True if some were left out.
#[inline(always)]
fn append_argv(writer: &mut Writer, argv: u64, compat: bool) -> bool {
    let mut index = 0;
    while index < FAILED_EXEC_ARGS {
        let pointer = if compat {
            u64::from(read_user::<u32>(argv + u64::from(index) * 4))
        } else {
            read_user::<u64>(argv + u64::from(index) * 8)
        };
        if pointer == 0 {
            return false;
        }
        match writer.user_string::<FAILED_EXEC_ARG_BYTES>(pointer) {
            Some(length) if length as usize == FAILED_EXEC_ARG_BYTES - 1 => {
                writer.byte(0);
                return true;
            }
            Some(_) => writer.byte(0),
            None => return true,
        }
        index += 1;
    }
    true
}

/// Arguments that are searched for a program's verb.
const VERB_ARGS: u32 = 12;

/// Answer of `restores`: the program brings nothing back.
const NO_VERB: u64 = 0;
/// Answer of `restores`: the program was started with a verb that brings back what it removes.
const VERB_RESTORES: u64 = 1;
/// Answer of `restores`: the program was started with another verb.
const VERB_OTHER: u64 = 2;

global! {
    /// Whether what the new program removes is kept elsewhere: the policy knows
    /// the program by its file, and its use by the first word.
    fn restores(area: ScratchId as scratch) -> u64 [else NO_VERB] {
        // SAFETY: `scratch` is a map value.
        let Program { exe, strings, .. } = unsafe { (*scratch).program };
        let inode = exe.inode();
        let key = inode.place_key();
        // SAFETY: the value is copied.
        let value = unsafe { maps::PROGRAMS.get(&key) }.copied().unwrap_or(0);
        if value & PROGRAM_RESTORES == 0 {
            return NO_VERB;
        }
        let mut address = strings.arg_start;
        let mut index = 0;
        let mut skips = true;
        while index < VERB_ARGS && address < strings.arg_end {
            let mut word = NameKey {
                kind: NAME_VERB,
                name: [0; NAME_KEY_BYTES],
            };
            // SAFETY: the buffers have the sizes that are named.
            let (read, whole) = unsafe {
                (
                    bpf_probe_read_user_str(
                        word.name.as_mut_ptr().cast(),
                        NAME_KEY_BYTES as u32,
                        address as *const _,
                    ),
                    bpf_probe_read_user_str(
                        buffer_of(scratch).cast(),
                        NAME_BYTES as u32,
                        address as *const _,
                    ),
                )
            };
            if read <= 0 || whole <= 0 {
                return VERB_OTHER;
            }
            if skips {
                // The program's own name, or an option's argument.
                skips = false;
            } else if word.name[0] == b'-' {
                // git(1): `-C path` and `-c name=value`.
                skips = (word.name[1] | 0x20) == b'c' && word.name[2] == 0;
            } else {
                // SAFETY: only the key's presence is asked for.
                return if unsafe { maps::NAMES.get(&word) }.is_some() {
                    VERB_RESTORES
                } else {
                    VERB_OTHER
                };
            }
            address += whole as u64;
            index += 1;
        }
        VERB_OTHER
    }
}
