//! The gate: a program of a session that the policy wants to look at first is
//! stopped before its first instruction.
//!
//! A stopped program that runs all the same, for a member of its session has
//! sent it SIGCONT, is ended at the first call that is seen of it (`enforce`).
//!
//! Not here: what is decided about it, which user space does.

use agent_recorder_abi::event::{Kind, Trouble};
use agent_recorder_abi::exec_gate::{ALWAYS, GATED, HeldBody, PROGRAM, PROGRAM_NUMBER};
use agent_recorder_abi::limits::{GATE_ARGS, NAME_KEY_BYTES};
use agent_recorder_abi::policy::{NAME_GATE_WORD, NameKey};
use aya_ebpf::helpers::bpf_send_signal;
use aya_ebpf::helpers::generated::bpf_probe_read_user_str;

use crate::context::areas::{NAME_BYTES, buffer_of, repeated};
use crate::context::call::global;
use crate::context::maps;
use crate::context::scratch::Scratch;
use crate::event::writer::Writer;
use crate::kernel::compat::{current, tag_on};
use crate::kernel::counters::trouble;
use crate::kernel::uapi::{SIGKILL, SIGSTOP};
use crate::session::tag;

global! {
    /// Stops the running program, if it is one that is gated: always, or by one of
    /// its words.
    pub(crate) fn stop_if_gated(area: ScratchId as scratch, found: u64) {
        if found & u64::from(GATED) == 0 {
            return;
        }
        if found & u64::from(ALWAYS) == 0 && !has_word(scratch) {
            return;
        }
        let this = current();
        let (Some(tag), Some(on_task)) = (tag::tag_of(this), tag_on(this)) else {
            return;
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
    }
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
