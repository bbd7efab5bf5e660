//! The gate: a program of a session that the policy wants to look at first is
//! stopped before its first instruction.
//!
//! A stopped program that runs all the same, for a member of its session has
//! sent it SIGCONT, is ended at the first call that is seen of it (`guard::enforce`).
//!
//! Not here: what is decided about it, which user space does.

use agent_recorder_abi::event::{Kind, Trouble};
use agent_recorder_abi::exec_gate::{
    ALWAYS, BY_FILE, BY_NAME, BY_SCRIPT, BY_SIZE, GATED, HeldBody, LOW, PROGRAM, PROGRAM_NUMBER,
};
use agent_recorder_abi::limits::{GATE_ARGS, NAME_KEY_BYTES};
use agent_recorder_abi::policy::{NAME_GATE_WORD, NAME_INTERPRETER, NAME_MANY, NameKey};
use aya_ebpf::helpers::bpf_send_signal;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};

use crate::context::maps;
use crate::event::dentry_walk;
use crate::event::writer::{Scratch, Writer, trouble};
use crate::guard::ownership::place_key;
use crate::kernel::compat::{repeated, tag_on};
use crate::kernel::read::{bound, current, offset, read};
use crate::operations::exec_match::{NAME_BYTES, buffer_of, last_components};
use crate::session::tag;

const SIGKILL: u32 = 9;
const SIGSTOP: u32 = 19;

/// A search for a word among a program's arguments, in the scratch area.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Words {
    key: NameKey,
    /// The argument that is looked at next.
    address: u64,
    end: u64,
    /// Not 0: one was found, or an argument cannot be read.
    found: u64,
}

/// How `matches::match_rules` answers: the low half as the rules' map has it, the high half `BY_…`.
#[inline(always)]
pub(crate) fn gated_by(value: u64, known_by: u32) -> u64 {
    if value & u64::from(GATED) == 0 {
        0
    } else {
        value & u64::from(GATED) | u64::from(known_by) << 32
    }
}

/// An agent rule's number in such an answer.
#[inline(always)]
pub(crate) fn rule_in(found: u64) -> u64 {
    found & u64::from(LOW)
}

/// A gated program by the names that it was started by.
#[inline(always)]
pub(crate) fn by_name(value: u64) -> u64 {
    gated_by(value, BY_NAME)
}

/// A gated program that is a script.
#[inline(always)]
pub(crate) fn by_script(value: u64) -> u64 {
    gated_by(value, BY_SCRIPT)
}

/// A gated program by its file, or by its size. A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn by_file(exe: u64) -> u64 {
    let inode: u64 = read(exe, offset!(file_inode));
    let key = place_key(inode);
    // SAFETY: the value is copied.
    if let Some(value) = unsafe { maps::PROGRAMS.get(&key) }.copied() {
        let gated = gated_by(u64::from(value), BY_FILE);
        if gated != 0 {
            return gated;
        }
    }
    let size: u64 = read(inode, offset!(inode_size));
    // SAFETY: as above.
    match unsafe { maps::SIZES.get(&size) }.copied() {
        Some(value) => gated_by(u64::from(value), BY_SIZE),
        None => 0,
    }
}

/// Stops the running program, if it is one that is gated: always, or by one of
/// its words. A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn stop_if_gated(area: u32, found: u64) -> u64 {
    if found & u64::from(GATED) == 0 {
        return 0;
    }
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    if found & u64::from(ALWAYS) == 0 && !has_word(scratch) {
        return 0;
    }
    let this = current();
    let (Some(tag), Some(on_task)) = (tag::tag_of(this), tag_on(this)) else {
        return 0;
    };
    let writer = Writer::begin::<HeldBody>(scratch);
    writer.header(Kind::Exec, tag);
    // SAFETY: the task's own tag, not null; `begin` left room for the body; the helper takes a number.
    unsafe {
        (*on_task).held = 1;
        *writer.body::<HeldBody>() = HeldBody {
            image: tag.image,
            program: (found as u32 >> PROGRAM) & PROGRAM_NUMBER,
            known_by: (found >> 32) as u32,
        };
        // Before it is told of: the answer, SIGCONT, takes a stop back that has not come to pass.
        bpf_send_signal(SIGSTOP);
    }
    if !writer.submit_to_gate() {
        // Nobody would ever let it go: what is not judged does not run.
        trouble(Trouble::GateFull);
        // SAFETY: the helper takes a number.
        unsafe { bpf_send_signal(SIGKILL) };
    }
    0
}

#[inline(always)]
fn has_word(scratch: *mut Scratch) -> bool {
    // SAFETY: fields of a map value.
    unsafe {
        let (arg_start, arg_end) = (*scratch).program.arguments();
        (*scratch).words.address = arg_start;
        (*scratch).words.end = arg_end;
        (*scratch).words.found = 0;
        find_words(scratch, GATE_ARGS);
        let words = &raw const (*scratch).words;
        // What has more arguments than are looked at is judged, too.
        (*words).found != 0 || (*words).address < (*words).end
    }
}

repeated! {
/// Looks at argument after argument.
fn find_words[find_word, find_some_words](scratch, index) {
    // SAFETY: fields of a map value, of the sizes that are named.
    unsafe {
        let words = &mut (*scratch).words;
        if words.address >= words.end {
            return 1;
        }
        words.key.kind = NAME_GATE_WORD;
        words.key.name = [0; NAME_KEY_BYTES];
        let read = bpf_probe_read_user_str(
            (&raw mut words.key.name).cast(),
            NAME_KEY_BYTES as u32,
            words.address as *const _,
        );
        // A longer one is looked at piece by piece.
        let whole = bpf_probe_read_user_str(
            buffer_of(scratch).cast(),
            NAME_BYTES as u32,
            words.address as *const _,
        );
        if read <= 0 || whole <= 0 {
            words.found = 1;
            return 1;
        }
        words.address += whole as u64;
        // Not the program's own name.
        if index > 0 && is_word(&mut words.key) {
            words.found = 1;
            return 1;
        }
    }
    0
}
}

/// Whether an argument is a word that a rule waits for: in any case, up to
/// `=` or a blank, whole or up to its first hyphen.
#[inline(always)]
fn is_word(key: &mut NameKey) -> bool {
    let name = (&raw mut key.name).cast::<u8>();
    let mut over = false;
    let mut hyphen = 0;
    let mut at = 0;
    while at < NAME_KEY_BYTES {
        // SAFETY: `at` is inside the array.
        unsafe {
            let byte = core::ptr::read_volatile(name.add(at));
            over |= byte == b'=' || byte == b' ' || byte == 0;
            let lower = if byte.is_ascii_uppercase() {
                byte | 0x20
            } else {
                byte
            };
            core::ptr::write_volatile(name.add(at), if over { 0 } else { lower });
            if hyphen == 0 && !over && byte == b'-' {
                hyphen = at;
            }
        }
        at += 1;
    }
    // SAFETY: the values are not looked at.
    if unsafe { maps::NAMES.get(&*key) }.is_some() {
        return true;
    }
    if hyphen == 0 {
        return false;
    }
    let mut at = 0;
    while at < NAME_KEY_BYTES {
        if at >= hyphen {
            // SAFETY: as above.
            unsafe { core::ptr::write_volatile(name.add(at), 0) };
        }
        at += 1;
    }
    // SAFETY: as above.
    unsafe { maps::NAMES.get(&*key) }.is_some()
}

/// Not 0 for a program that runs scripts: `python3.13` is known as `python`. To
/// others the name of a script is a word. A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn interprets(area: u32, exe: u64) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    let name: u64 = read(dentry_walk::of_file(exe).dentry, offset!(dentry_name));
    // SAFETY: a field of a map value, of the size that is named.
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

/// Puts the name that the program was called by into the search: one that is
/// many programs goes by that itself. False where it cannot be read.
#[inline(always)]
fn call_by_argument(scratch: *mut Scratch) -> bool {
    let buffer = buffer_of(scratch);
    // SAFETY: fields of a map value; the buffer is far larger than a name.
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

/// What is known of the name in the search, of which only the letters before
/// its version count. A global function (see `call`).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn interpreter(area: u32) -> u64 {
    let Some(scratch) = maps::SCRATCH.get_ptr_mut(area) else {
        return 0;
    };
    // SAFETY: a field of a map value; `at` is inside the array; the value is copied.
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
