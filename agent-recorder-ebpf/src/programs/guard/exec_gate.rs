//! The gate stops a session's program that the policy wants judged, before its first instruction.
//!
//! A member of the session can wake a stopped program with SIGCONT. `enforce`
//! ends it at its first observed call.
//!
//! Not here: the decision, which user space makes.

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
    /// Stops the running program if it is gated: always, or for one of its words.
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
        // SAFETY: `on_task` is the task's own tag, not null; `begin` left room
        // for the body; the helper takes a number.
        unsafe {
            (*on_task).held = 1;
            *writer.body::<HeldBody>() = HeldBody {
                image: tag.image,
                program: (found as u32 >> PROGRAM) & PROGRAM_NUMBER,
                known_by: (found >> 32) as u32,
            };
            // Before the event: its answer, SIGCONT, also takes back a stop that is still pending.
            bpf_send_signal(SIGSTOP);
        }
        if !writer.submit_to_gate() {
            // No answer would ever come, and a program runs only after its judgement.
            trouble(Trouble::GateFull);
            // SAFETY: the helper takes a number.
            unsafe { bpf_send_signal(SIGKILL) };
        }
    }
}

#[inline(always)]
fn has_word(scratch: *mut Scratch) -> bool {
    // SAFETY: `scratch` is a map value.
    unsafe {
        let (arg_start, arg_end) = (*scratch).program.arguments();
        (*scratch).words.address = arg_start;
        (*scratch).words.end = arg_end;
        (*scratch).words.found = 0;
        find_words(scratch, GATE_ARGS);
        let words = &raw const (*scratch).words;
        // A program with more than GATE_ARGS arguments is judged, too.
        (*words).found != 0 || (*words).address < (*words).end
    }
}

repeated! {
/// Compares one argument a round.
fn find_words[find_word, find_some_words](scratch, index) {
    // SAFETY: `scratch` is a map value; the sizes are those of its fields.
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
        // An argument longer than NAME_BYTES is compared piece by piece.
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
        // Argument 0 is the program's own name.
        if index > 0 && is_word(&mut words.key) {
            words.found = 1;
            return 1;
        }
    }
    0
}
}

/// Whether an argument is a word of a rule: in any case, up to `=` or a blank,
/// whole or up to its first hyphen.
#[inline(always)]
fn is_word(key: &mut NameKey) -> bool {
    let name = (&raw mut key.name).cast::<u8>();
    let mut over = false;
    let mut hyphen = 0;
    let mut at = 0;
    while at < NAME_KEY_BYTES {
        // SAFETY: `at` is below NAME_KEY_BYTES, the array's length.
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
    // SAFETY: only the key's presence is asked for.
    if unsafe { maps::NAMES.get(&*key) }.is_some() {
        return true;
    }
    if hyphen == 0 {
        return false;
    }
    let mut at = 0;
    while at < NAME_KEY_BYTES {
        if at >= hyphen {
            // SAFETY: `at` is below NAME_KEY_BYTES, the array's length.
            unsafe { core::ptr::write_volatile(name.add(at), 0) };
        }
        at += 1;
    }
    // SAFETY: only the key's presence is asked for.
    unsafe { maps::NAMES.get(&*key) }.is_some()
}
