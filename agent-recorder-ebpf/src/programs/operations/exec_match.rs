//! Whether a program that was started is an agent, is gated, or has the name of
//! a file that a session wrote: by its own names, those of its script, and marks
//! in its environment.
//!
//! Not here: what follows (`exec`, `gate`, `heirs`).

use agent_recorder_abi::agent_rule::{ENVIRONMENT, ENVIRONMENT_NAME, EXECUTABLE, RuleKey, SCRIPT};
use agent_recorder_abi::exec_gate::WRITTEN_NAME;
use agent_recorder_abi::limits::{ENVIRONMENT_ENTRIES, PATTERN_BYTES, SCRIPT_ARGS};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};

use crate::context::maps;
use crate::event::dentry_walk;
use crate::event::writer::{POSITION, Scratch};
use crate::guard::exec_gate;
use crate::kernel::compat::repeated;
use crate::kernel::read::{bound, offset, read};

/// Where a new program keeps its strings: user addresses in its `mm_struct`.
#[derive(Clone, Copy)]
pub(crate) struct Strings {
    pub(crate) arg_start: u64,
    pub(crate) arg_end: u64,
    pub(crate) env_start: u64,
    pub(crate) env_end: u64,
}

/// A program that was just started, in the scratch area.
#[derive(Clone, Copy)]
pub(crate) struct Program {
    pub(crate) strings: Strings,
    /// `mm_struct.exe_file`.
    pub(crate) exe: u64,
    /// `linux_binprm.filename`.
    pub(crate) filename: u64,
}

impl Program {
    /// Where its arguments begin and end.
    #[inline(always)]
    pub(crate) fn arguments(&self) -> (u64, u64) {
        (self.strings.arg_start, self.strings.arg_end)
    }
}

/// The first agent rule that the new program matches, and for a session's
/// whether it is gated: as the rules' map has it, with `BY_…` above. A program
/// that is in a session already is not searched for marks of the environment:
/// its agent left them there. A global function (see `call`), as the next ones.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn match_rules(area: u32, in_session: u32) -> u64 {
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
    let mut rule = exec_gate::rule_in(by_filename);
    let mut gated = exec_gate::by_name(by_filename);
    let mut written = by_filename & u64::from(WRITTEN_NAME);
    if rule == 0 {
        let name = read(dentry_walk::of_file(exe).dentry, offset!(dentry_name));
        let by_own_name = match_kernel_name(scratch, name);
        rule = exec_gate::rule_in(by_own_name);
        if gated == 0 {
            gated = exec_gate::by_name(by_own_name);
        }
    }
    if rule == 0 {
        let mut by_script = match_scripts(scratch, strings);
        rule = exec_gate::rule_in(by_script);
        if by_script != rule && exec_gate::interprets(area, exe) == 0 {
            by_script = 0;
        }
        if gated == 0 {
            gated = exec_gate::by_script(by_script);
        }
        written |= by_script & u64::from(WRITTEN_NAME);
    }
    if in_session == 0 {
        if rule == 0 {
            rule = match_environment(scratch, strings);
        }
        return rule | written;
    }
    if gated == 0 {
        gated = exec_gate::by_file(exe);
    }
    rule | gated
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
    let mut written = 0;
    while index < SCRIPT_ARGS && address < strings.arg_end {
        // SAFETY: the buffer is far larger.
        let read = unsafe {
            bpf_probe_read_user_str(buffer.cast(), NAME_BYTES as u32, address as *const _)
        };
        if read <= 0 {
            return written;
        }
        if index > 0 {
            let value = match_components(area_of(scratch), read as u64 - 1, SCRIPT);
            written |= value & u64::from(WRITTEN_NAME);
            if is_rule(value) {
                return value | written;
            }
        }
        address += read as u64;
        index += 1;
    }
    written
}

/// Whether what was looked up names an agent or a gated program, and is not only a name that a session gave.
#[inline(always)]
fn is_rule(value: u64) -> bool {
    value & !u64::from(WRITTEN_NAME) != 0
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

/// Finds where the last two components begin of a name of this length that stands in the buffer.
#[inline(always)]
pub(crate) fn last_components(scratch: *mut Scratch, length: u64) -> (u64, u64) {
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
    (search.before, search.last)
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
    let (before, last) = last_components(scratch, length);
    let value = look_up(buffer, last, length, kind);
    if !is_rule(value) && kind == SCRIPT && last > 0 {
        return value | look_up(buffer, before, length, kind);
    }
    value
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
