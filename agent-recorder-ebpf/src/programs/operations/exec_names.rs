//! Compares names of programs with the rules and the policy: the last
//! components of a path, and the names of interpreters.
//!
//! Not here: which names a program has (`exec_match`).

use agent_recorder_abi::agent_rule::{RuleKey, SCRIPT};
use agent_recorder_abi::exec_gate::WRITTEN_NAME;
use agent_recorder_abi::limits::{NAME_KEY_BYTES, PATTERN_BYTES};
use agent_recorder_abi::policy::{NAME_INTERPRETER, NAME_MANY};
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};

use crate::context::areas::{self, NAME_BYTES, buffer_of, repeated};
use crate::context::call::global;
use crate::context::maps;
use crate::context::scratch::{RuleSearch, Scratch};
use crate::kernel::read::bound;
use crate::kernel::types::File;

/// Whether a value of the rules' map names an agent or a gated program, and
/// more than a written file.
#[inline(always)]
pub(crate) fn is_rule(value: u64) -> bool {
    value & !u64::from(WRITTEN_NAME) != 0
}

impl RuleSearch {
    pub(crate) const NONE: Self = Self {
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
    // SAFETY: `scratch` is a map value; `at` is masked to NAME_BYTES, inside the buffer.
    unsafe {
        let search = &mut (*scratch).search;
        if index >= search.length {
            return 1;
        }
        let at = bound::<{ NAME_BYTES - 1 }>(index) as usize;
        if core::ptr::read_volatile(areas::buffer_of(scratch).add(at)) == b'/' {
            search.before = search.last;
            search.last = index + 1;
        }
    }
    0
}
}

/// Finds where the last two components begin of the name of this length in the buffer.
#[inline(always)]
pub(crate) fn last_components(scratch: *mut Scratch, length: u64) -> (u64, u64) {
    // SAFETY: `scratch` is a map value.
    unsafe {
        (*scratch).search = RuleSearch {
            length,
            ..RuleSearch::NONE
        };
    }
    find_slashes(scratch, NAME_BYTES as u32);
    // SAFETY: `scratch` is a map value.
    let search = unsafe { (*scratch).search };
    (search.before, search.last)
}

global! {
    /// Compares the last component, and for scripts the last two, with the rules.
    pub(crate) fn match_components(
        area: ScratchId as scratch,
        length: u64,
        kind: u32,
    ) -> u64 [else 0] {
        let buffer = areas::buffer_of(scratch);
        let length = bound::<{ NAME_BYTES - 1 }>(length);
        let (before, last) = last_components(scratch, length);
        let value = look_up(buffer, last, length, kind);
        if !is_rule(value) && kind == SCRIPT && last > 0 {
            return value | look_up(buffer, before, length, kind);
        }
        value
    }
}

/// Looks up the bytes from `from` to `to` as a pattern.
#[inline(always)]
pub(crate) fn look_up(buffer: *const u8, from: u64, to: u64, kind: u32) -> u64 {
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
    // SAFETY: `buffer` is in a map value, and `from` is masked to its size;
    // `length` is below PATTERN_BYTES.
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

global! {
    /// Not 0 for a program that runs scripts: `python3.13` is known as
    /// `python`. To any other program the name of a script is a word.
    pub(crate) fn interprets(area: ScratchId as scratch, exe: File) -> u64 [else 0] {
        let name = exe.path().dentry.name();
        // SAFETY: `scratch` is a map value; `name` has NAME_KEY_BYTES bytes.
        unsafe {
            let key = &raw mut (*scratch).words.key;
            (*key).name = [0; NAME_KEY_BYTES];
            bpf_probe_read_kernel_str(
                (&raw mut (*key).name).cast(),
                NAME_KEY_BYTES as u32,
                name as *const _,
            );
            let known = interpreter(area);
            if known != MANY || !call_by_argument(scratch) {
                return known;
            }
        }
        interpreter(area)
    }
}

/// Puts the name that the program was called by into the search: it decides for
/// a file that is many programs. False where the name cannot be read.
#[inline(always)]
fn call_by_argument(scratch: *mut Scratch) -> bool {
    let buffer = buffer_of(scratch);
    // SAFETY: `scratch` is a map value; the buffer is larger than NAME_BYTES.
    unsafe {
        let (address, _) = (*scratch).program.arguments();
        let read = bpf_probe_read_user_str(buffer.cast(), NAME_BYTES as u32, address as *const _);
        if read <= 1 {
            return false;
        }
        let (_, begin) = last_components(scratch, read as u64 - 1);
        let key = &raw mut (*scratch).words.key;
        (*key).name = [0; NAME_KEY_BYTES];
        bpf_probe_read_kernel_str(
            (&raw mut (*key).name).cast(),
            NAME_KEY_BYTES as u32,
            buffer
                .add(bound::<{ NAME_BYTES - 1 }>(begin) as usize)
                .cast(),
        ) > 0
    }
}

const MANY: u64 = NAME_MANY as u64;

global! {
    /// The policy's value of the name in the search, of which only the letters
    /// before its version count.
    fn interpreter(area: ScratchId as scratch) -> u64 [else 0] {
        // SAFETY: `scratch` is a map value; `at` is below NAME_KEY_BYTES; the value is copied.
        unsafe {
            let key = &raw mut (*scratch).words.key;
            (*key).kind = NAME_INTERPRETER;
            let bytes = (&raw mut (*key).name).cast::<u8>();
            let mut over = false;
            let mut at = 0;
            while at < NAME_KEY_BYTES {
                over |= !core::ptr::read_volatile(bytes.add(at)).is_ascii_lowercase();
                if over {
                    core::ptr::write_volatile(bytes.add(at), 0);
                }
                at += 1;
            }
            u64::from(maps::NAMES.get(&*key).copied().unwrap_or(0))
        }
    }
}
