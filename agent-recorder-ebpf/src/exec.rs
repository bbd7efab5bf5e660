//! exec: what was started, and whether it is an agent.

use agent_recorder_abi::event::{
    EXEC_ARGV_CUT, EXEC_FILELESS, EXEC_PATH_CUT, ExecBody, Kind, SessionBody, VIA_SYSCALL,
};
use agent_recorder_abi::limits::{
    ARGV_BYTES, ENVIRONMENT_ENTRIES, FAILED_EXEC_ARG_BYTES, FAILED_EXEC_ARGS, NAME_KEY_BYTES,
    PATTERN_BYTES, SCRIPT_ARGS, USER_PATH_BYTES,
};
use agent_recorder_abi::policy::{NAME_VERB, NameKey, PROGRAM_RESTORES, PlaceKey};
use agent_recorder_abi::rule::{ENVIRONMENT, ENVIRONMENT_NAME, EXECUTABLE, RuleKey, SCRIPT};
use agent_recorder_abi::state::Tag;
use aya_ebpf::helpers::generated::{
    bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str, bpf_probe_read_user_str,
};

use crate::call::{Call, NO_ROW, global};
use crate::emit::{POSITION, Scratch, Writer, with_area};
use crate::kernel::{Task, bound, current, offset, read, read_user, walk};
use crate::once::{Copy, Event, is_ours, mark_of};
use crate::primitives::{drop_tag_of, repeated};
use crate::{cut, descriptor, gate, guard, maps, path, task};

/// Where a new program keeps its strings: user addresses in its `mm_struct`.
#[derive(Clone, Copy)]
struct Strings {
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
}

impl Program {
    /// Where its arguments begin and end.
    #[inline(always)]
    pub(crate) fn arguments(&self) -> (u64, u64) {
        (self.strings.arg_start, self.strings.arg_end)
    }
}

/// A program that was just started, in the scratch area.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    strings: Strings,
    /// `mm_struct.exe_file`.
    exe: u64,
    /// `linux_binprm.filename`.
    filename: u64,
}

/// A program was started: `task` runs it next.
#[inline(always)]
pub(crate) fn succeeded(copy: Copy, this: Task, old_pid: u32, binprm: *const u8) {
    if !is_ours(copy, this, Event::Exec) {
        return;
    }
    drop_tag_of(old_pid, this);
    // SAFETY: both are arguments of the hook, typed.
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
            walk::<u64>(mm, offset!(mm_exe)),
            walk::<u64>(binprm, offset!(binprm_filename)),
        )
    };
    let program = Program {
        strings,
        exe,
        filename,
    };
    with_area!(|scratch| {
        // SAFETY: a map value.
        let area = unsafe {
            (*scratch).program = program;
            (*scratch).index
        };
        let found = look_at(area, mark_of(copy, Event::Exec));
        gate::stop_if_gated(area, found);
        // Not from within it, for there 5.10 has no room on the stack.
        let this = current();
        if let Some(tag) = task::tag_of(this) {
            cut::closed_by_exec(scratch, this, tag);
        }
    });
}

/// Looks at the program that the running task has become; what `match_rules`
/// found of a session's. A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_at(area: u32, mark: u32) -> u64 {
    match maps::SCRATCH.get_ptr_mut(area) {
        Some(scratch) => looked_at(scratch, area, mark),
        None => 0,
    }
}

#[inline(always)]
fn looked_at(scratch: *mut Scratch, area: u32, mark: u32) -> u64 {
    let this = current();
    let existing = task::tag_of(this);
    let found = match_rules(area, u32::from(existing.is_some()));
    let rule = gate::rule_in(found) as u32;
    // SAFETY: the helper takes nothing.
    let image = unsafe { bpf_ktime_get_boot_ns() };
    let tag = match existing {
        // A mark of `once` stays.
        Some(tag) => Tag {
            handled: tag.handled,
            restores: u32::from(match restores(area) {
                VERB_RESTORES => true,
                // Started by one that does, with no shell between: what `git stash -u` has `git clean` remove.
                VERB_OTHER => tag.restores != 0,
                _ => false,
            }),
            // Woken by somebody who may not: it ends here.
            held: tag.held,
            ..Tag::new(tag.session, image)
        },
        None => {
            if rule == 0 {
                return 0;
            }
            let Some(session) = task::new_session() else {
                return 0;
            };
            Tag {
                handled: mark,
                ..Tag::new(session, image)
            }
        }
    };
    if !task::set_tag(this, tag) {
        return 0;
    }
    let call = Call {
        scratch,
        task: this,
        tag,
        row: NO_ROW,
        result: 0,
        compat: false,
        via: VIA_SYSCALL,
    };
    call.keep();
    if existing.is_none() {
        emit_session(&call, rule);
    }
    emit_exec(&call, rule);
    descriptor::closed_by_exec(scratch, this, tag);
    guard::enforce(tag);
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
    // SAFETY: a field of a map value.
    let Program { exe, strings, filename } = unsafe { (*call.scratch).program };
    let mut writer = Writer::begin::<ExecBody>(call.scratch);
    let body = writer.body::<ExecBody>();
    let exe_path = path::append(&mut writer, path::of_file(exe));
    let filename_len = writer
        .kernel_string::<USER_PATH_BYTES>(filename)
        .unwrap_or(0);
    let cwd = path::append(&mut writer, path::working_directory(call.task));
    let argv_bytes = strings.arg_end.wrapping_sub(strings.arg_start);
    let argv_len = writer.user_bytes::<{ ARGV_BYTES as u64 - 1 }>(strings.arg_start, argv_bytes);
    let inode: u64 = read(exe, offset!(file_inode));
    let mut flags = 0;
    if u64::from(argv_len) < argv_bytes {
        flags |= EXEC_ARGV_CUT;
    }
    if exe_path.is_cut() || cwd.is_cut() {
        flags |= EXEC_PATH_CUT;
    }
    if read::<u32>(inode, offset!(inode_nlink)) == 0 {
        flags |= EXEC_FILELESS;
    }
    // SAFETY: `begin` left room for it.
    unsafe {
        *body = ExecBody {
            error: 0,
            flags,
            rule,
            dev: read(read(inode, offset!(inode_sb)), offset!(sb_dev)),
            ino: read(inode, offset!(inode_ino)),
            argv_bytes,
            exe_len: exe_path.len,
            filename_len,
            cwd_len: cwd.len,
            argv_len,
        };
    }
    writer.header(Kind::Exec, call.tag);
    writer.submit(Kind::Exec, false);
}
}

global! {
    /// execve(2) came back with an error: the arguments are still where the caller has them.
    pub(crate) fn exec_failed(call: &Call, filename: u64, argv: u64) {
        let mut writer = Writer::begin::<ExecBody>(call.scratch);
        let body = writer.body::<ExecBody>();
        let filename_len = writer.user_string::<USER_PATH_BYTES>(filename).unwrap_or(0);
        let cwd = path::append(&mut writer, path::working_directory(call.task));
        let start = writer.position();
        let cut = append_argv(&mut writer, argv, call.compat);
        // SAFETY: `begin` left room for it.
        unsafe {
            *body = ExecBody {
                error: call.error(),
                flags: if cut { EXEC_ARGV_CUT } else { 0 }
                    | if cwd.is_cut() { EXEC_PATH_CUT } else { 0 },
                rule: 0,
                dev: 0,
                ino: 0,
                argv_bytes: 0,
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

/// Follows the pointers of an argv array. Whether something was left out.
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

/// The first agent rule that the new program matches, and for a session's
/// whether it is gated: as the rules' map has it, with `BY_…` above. A program
/// that is in a session already is not searched for marks of the environment:
/// its agent left them there. A global function (see `call`), as the next ones.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_rules(area: u32, in_session: u32) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    // SAFETY: a field of a map value.
    let Program {
        strings,
        exe,
        filename,
    } = unsafe { (*scratch).program };
    let by_filename = match_kernel_name(scratch, filename);
    let mut rule = gate::rule_in(by_filename);
    let mut gated = gate::by_name(by_filename);
    if rule == 0 {
        let name = read(path::of_file(exe).dentry, offset!(dentry_name));
        let by_own_name = match_kernel_name(scratch, name);
        rule = gate::rule_in(by_own_name);
        if gated == 0 {
            gated = gate::by_name(by_own_name);
        }
    }
    if rule == 0 {
        let by_script = match_scripts(scratch, strings);
        rule = gate::rule_in(by_script);
        if gated == 0 {
            gated = gate::by_script(scratch, by_script, exe);
        }
    }
    if in_session == 0 {
        return if rule == 0 {
            match_environment(scratch, strings)
        } else {
            rule
        };
    }
    if gated == 0 {
        gated = gate::by_file(exe);
    }
    rule | gated
}

/// Arguments that are looked at for a program's verb.
const VERB_ARGS: u32 = 12;

/// What `restores` answers: the program is none that brings anything back …
const NO_VERB: u64 = 0;
/// … does so with the verb that it was started with …
const VERB_RESTORES: u64 = 1;
/// … or does not.
const VERB_OTHER: u64 = 2;

/// Whether what the new program removes is kept elsewhere: one that the policy
/// knows by its file, in a use that it knows by its first word. A global
/// function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn restores(area: u32) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return NO_VERB;
    };
    // SAFETY: a field of a map value.
    let Program { exe, strings, .. } = unsafe { (*scratch).program };
    let inode: u64 = read(exe, offset!(file_inode));
    let key = PlaceKey {
        ino: read(inode, offset!(inode_ino)),
        dev: read(read(inode, offset!(inode_sb)), offset!(sb_dev)),
        spare: 0,
    };
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
            // SAFETY: the value is not looked at.
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

/// Names and entries are compared in the area that the event is put together in afterwards.
#[inline(always)]
pub(crate) fn buffer_of(scratch: *mut Scratch) -> *mut u8 {
    // SAFETY: `scratch` is a map value.
    unsafe { (&raw mut (*scratch).buffer).cast() }
}

#[inline(always)]
fn area_of(scratch: *mut Scratch) -> u32 {
    // SAFETY: as above.
    unsafe { (*scratch).index }
}

/// Bytes of a name that are looked at for its last components.
pub(crate) const NAME_BYTES: u64 = 1024;

#[inline(always)]
fn match_kernel_name(scratch: *mut Scratch, name: u64) -> u64 {
    let buffer = buffer_of(scratch);
    // SAFETY: the buffer is far larger.
    let read =
        unsafe { bpf_probe_read_kernel_str(buffer.cast(), NAME_BYTES as u32, name as *const _) };
    if read <= 1 {
        return 0;
    }
    match_components(area_of(scratch), read as u64 - 1, EXECUTABLE)
}

#[inline(always)]
fn match_scripts(scratch: *mut Scratch, strings: Strings) -> u64 {
    let buffer = buffer_of(scratch);
    let mut address = strings.arg_start;
    let mut index = 0;
    while index < SCRIPT_ARGS && address < strings.arg_end {
        // SAFETY: the buffer is far larger.
        let read = unsafe {
            bpf_probe_read_user_str(buffer.cast(), NAME_BYTES as u32, address as *const _)
        };
        if read <= 0 {
            return 0;
        }
        if index > 0 {
            let rule = match_components(area_of(scratch), read as u64 - 1, SCRIPT);
            if rule != 0 {
                return rule;
            }
        }
        address += read as u64;
        index += 1;
    }
    0
}

/// What a search carries from round to round: for the last components of a
/// name, byte by byte, or through the environment, entry by entry.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Search {
    /// Bytes of the name.
    length: u64,
    /// Position after the last slash, and after the one before.
    last: u64,
    before: u64,
    /// The entry that is looked at next.
    address: u64,
    end: u64,
    rule: u64,
}

impl Search {
    const NONE: Self = Self {
        length: 0,
        last: 0,
        before: 0,
        address: 0,
        end: 0,
        rule: 0,
    };
}

repeated! {
/// Finds the last two slashes.
fn find_slashes[note_slash, note_slashes](scratch, index) {
    // SAFETY: a map value; the mask keeps the index inside the buffer.
    unsafe {
        let search = &mut (*scratch).search;
        if index >= search.length {
            return 1;
        }
        let at = bound::<{ NAME_BYTES - 1 }>(index) as usize;
        if core::ptr::read_volatile(buffer_of(scratch).add(at)) == b'/' {
            search.before = search.last;
            search.last = index + 1;
        }
    }
    0
}
}

/// Compares the last component, and for scripts the last two, with the rules.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_components(area: u32, length: u64, kind: u32) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    let buffer = buffer_of(scratch);
    let length = bound::<{ NAME_BYTES - 1 }>(length);
    // SAFETY: a field of a map value.
    unsafe {
        (*scratch).search = Search {
            length,
            ..Search::NONE
        };
    }
    find_slashes(scratch, NAME_BYTES as u32);
    // SAFETY: as above.
    let search = unsafe { (*scratch).search };
    let rule = look_up(buffer, search.last, length, kind);
    if rule == 0 && kind == SCRIPT && search.last > 0 {
        return look_up(buffer, search.before, length, kind);
    }
    rule
}

/// Looks up the bytes from `from` to `to` as a pattern.
#[inline(always)]
fn look_up(buffer: *const u8, from: u64, to: u64, kind: u32) -> u64 {
    let from = bound::<{ NAME_BYTES - 1 }>(from);
    let length = to.wrapping_sub(from);
    if length == 0 || length >= PATTERN_BYTES as u64 {
        return 0;
    }
    let mut key = RuleKey {
        kind,
        len: length as u32,
        pattern: [0; PATTERN_BYTES],
    };
    let length = bound::<63>(length);
    // SAFETY: kernel memory (a map value) of the buffer's size, read into PATTERN_BYTES by a length below it.
    unsafe {
        if length < PATTERN_BYTES as u64 {
            aya_ebpf::helpers::generated::bpf_probe_read_kernel(
                key.pattern.as_mut_ptr().cast(),
                length as u32,
                buffer.add(from as usize).cast(),
            );
        }
        u64::from(maps::RULES.get(&key).copied().unwrap_or(0))
    }
}

/// Bytes of one entry that are read at once; longer ones are skipped over in steps of this.
const ENTRY_BYTES: u64 = 4096;

repeated! {
/// Looks at entry after entry.
fn match_entries[match_entry, match_some_entries](scratch, _index) {
    let buffer = buffer_of(scratch);
    // SAFETY: a map value; ENTRY_BYTES are inside the buffer.
    unsafe {
        let search = &mut (*scratch).search;
        if search.address >= search.end {
            return 1;
        }
        let read = bpf_probe_read_user_str(
            buffer.cast(),
            ENTRY_BYTES as u32,
            search.address as *const _,
        );
        if read <= 0 {
            return 1;
        }
        search.address += read as u64;
        let prefix = core::ptr::read_unaligned(buffer.cast::<u64>());
        if read >= 8 && maps::ENVIRONMENT.get(&prefix).is_some() {
            let rule = match_environment_entry(area_of(scratch), read as u64 - 1);
            if rule != 0 {
                search.rule = rule;
                return 1;
            }
        }
    }
    0
}
}

/// Compares the whole entry, then its name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn match_environment_entry(area: u32, length: u64) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    let buffer = buffer_of(scratch);
    let whole = look_up(buffer, 0, length, ENVIRONMENT);
    if whole != 0 {
        return whole;
    }
    let mut name = 0;
    while name < PATTERN_BYTES as u64 {
        // SAFETY: the buffer is far larger than a pattern.
        let byte = unsafe { core::ptr::read_volatile(buffer.add(name as usize)) };
        if byte == b'=' || byte == 0 {
            break;
        }
        name += 1;
    }
    look_up(buffer, 0, bound::<POSITION>(name), ENVIRONMENT_NAME)
}

#[inline(always)]
fn match_environment(scratch: *mut Scratch, strings: Strings) -> u64 {
    // SAFETY: fields of a map value.
    unsafe {
        (*scratch).search = Search {
            address: strings.env_start,
            end: strings.env_end,
            ..Search::NONE
        };
        match_entries(scratch, ENVIRONMENT_ENTRIES);
        (*scratch).search.rule
    }
}
