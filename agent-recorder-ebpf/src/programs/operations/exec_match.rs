//! Matches a started program with the rules: whether it is an agent, is gated, or has the name of
//! a file that a session wrote. Its own names count, those of its script, and its environment.
//!
//! Not here: how one name is compared (`exec_names`), and what follows (`exec`,
//! `guard::exec_gate`, `guard::written_files`).

use agent_recorder_abi::agent_rule::{ENVIRONMENT, ENVIRONMENT_NAME, EXECUTABLE, SCRIPT};
use agent_recorder_abi::exec_gate::{
    BY_FILE, BY_NAME, BY_SCRIPT, BY_SIZE, GATED, LOW, WRITTEN_NAME,
};
use agent_recorder_abi::limits::{ENVIRONMENT_ENTRIES, PATTERN_BYTES, SCRIPT_ARGS};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};

use crate::context::areas::{self, NAME_BYTES, repeated};
use crate::context::call::global;
use crate::context::maps;
use crate::context::scratch::{POSITION, Program, RuleSearch, Scratch, ScratchId, Strings};
use crate::kernel::read::bound;
use crate::kernel::types::File;
use crate::operations::exec_names;

global! {
    /// The first agent rule that the new program matches, in a session whether it is gated, and
    /// outside whether it has a written file's name: as the rules' map has it, with `BY_…` in
    /// the high half. In a session the environment is left out: its agent's marks are inherited.
    pub(crate) fn match_rules(area: ScratchId as scratch, in_session: u32) -> u64 [else 0] {
        // SAFETY: `scratch` is a map value.
        let Program {
            strings,
            exe,
            filename,
        } = unsafe { (*scratch).program };
        let by_filename = match_kernel_name(scratch, filename);
        let mut rule = rule_in(by_filename);
        let mut gated = gated_by_name(by_filename);
        let mut written = by_filename & u64::from(WRITTEN_NAME);
        if rule == 0 {
            let name = exe.path().dentry.name();
            let by_own_name = match_kernel_name(scratch, name);
            rule = rule_in(by_own_name);
            if gated == 0 {
                gated = gated_by_name(by_own_name);
            }
        }
        if rule == 0 {
            let mut by_script = match_scripts(scratch, strings);
            rule = rule_in(by_script);
            if by_script != rule && exec_names::interprets(area, exe) == 0 {
                by_script = 0;
            }
            if gated == 0 {
                gated = gated_by_script(by_script);
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
            gated = by_file(exe);
        }
        rule | gated
    }
}

#[inline(always)]
fn match_kernel_name(scratch: *mut Scratch, name: u64) -> u64 {
    let buffer = areas::buffer_of(scratch);
    // SAFETY: the buffer is larger than NAME_BYTES.
    let read =
        unsafe { bpf_probe_read_kernel_str(buffer.cast(), NAME_BYTES as u32, name as *const _) };
    if read <= 1 {
        return 0;
    }
    exec_names::match_components(ScratchId::of(scratch), read as u64 - 1, EXECUTABLE)
}

#[inline(always)]
fn match_scripts(scratch: *mut Scratch, strings: Strings) -> u64 {
    let buffer = areas::buffer_of(scratch);
    let mut address = strings.arg_start;
    let mut index = 0;
    let mut written = 0;
    while index < SCRIPT_ARGS && address < strings.arg_end {
        // SAFETY: the buffer is larger than NAME_BYTES.
        let read = unsafe {
            bpf_probe_read_user_str(buffer.cast(), NAME_BYTES as u32, address as *const _)
        };
        if read <= 0 {
            return written;
        }
        if index > 0 {
            let value =
                exec_names::match_components(ScratchId::of(scratch), read as u64 - 1, SCRIPT);
            written |= value & u64::from(WRITTEN_NAME);
            if exec_names::is_rule(value) {
                return value | written;
            }
        }
        address += read as u64;
        index += 1;
    }
    written
}

/// Bytes of one entry that are read at once; a longer entry takes several rounds.
const ENTRY_BYTES: u64 = 4096;

repeated! {
/// Compares one entry a round.
fn match_entries[match_entry, match_some_entries](scratch, _index) {
    let buffer = areas::buffer_of(scratch);
    // SAFETY: `scratch` is a map value; ENTRY_BYTES are inside the buffer.
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
            let rule = match_environment_entry(ScratchId::of(scratch), read as u64 - 1);
            if rule != 0 {
                search.rule = rule;
                return 1;
            }
        }
    }
    0
}
}

global! {
    /// Compares the whole entry, then its name.
    fn match_environment_entry(area: ScratchId as scratch, length: u64) -> u64 [else 0] {
        let buffer = areas::buffer_of(scratch);
        let whole = exec_names::look_up(buffer, 0, length, ENVIRONMENT);
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
        exec_names::look_up(buffer, 0, bound::<POSITION>(name), ENVIRONMENT_NAME)
    }
}

#[inline(always)]
fn match_environment(scratch: *mut Scratch, strings: Strings) -> u64 {
    // SAFETY: `scratch` is a map value.
    unsafe {
        (*scratch).search = RuleSearch {
            address: strings.env_start,
            end: strings.env_end,
            ..RuleSearch::NONE
        };
        match_entries(scratch, ENVIRONMENT_ENTRIES);
        (*scratch).search.rule
    }
}

/// A gated program as `match_rules` returns it: in the low half as the rules'
/// map has it, in the high half `BY_…`.
#[inline(always)]
pub(crate) fn gated_by(value: u64, known_by: u32) -> u64 {
    if value & u64::from(GATED) == 0 {
        0
    } else {
        value & u64::from(GATED) | u64::from(known_by) << 32
    }
}

/// The agent rule's number in an answer of `match_rules`.
#[inline(always)]
pub(crate) fn rule_in(found: u64) -> u64 {
    found & u64::from(LOW)
}

/// A gated program by the names that it was started by.
#[inline(always)]
pub(crate) fn gated_by_name(value: u64) -> u64 {
    gated_by(value, BY_NAME)
}

/// A gated program that is a script.
#[inline(always)]
pub(crate) fn gated_by_script(value: u64) -> u64 {
    gated_by(value, BY_SCRIPT)
}

global! {
    /// A gated program by its file, or by its size.
    pub(crate) fn by_file(exe: File) -> u64 {
        let inode = exe.inode();
        let key = inode.place_key();
        // SAFETY: the value is copied.
        if let Some(value) = unsafe { maps::PROGRAMS.get(&key) }.copied() {
            let gated = gated_by(u64::from(value), BY_FILE);
            if gated != 0 {
                return gated;
            }
        }
        let size = inode.size();
        // SAFETY: the value is copied.
        match unsafe { maps::SIZES.get(&size) }.copied() {
            Some(value) => gated_by(u64::from(value), BY_SIZE),
            None => 0,
        }
    }
}
