//! What the programs are loaded from and for: the object, with the running
//! kernel's numbers put in.
//!
//! Not here: which object that is (`object`), and whether its programs can be
//! preempted (`preempt`).

use agent_recorder_abi::kernel_symbols::{self, Kfunc};
use aya::Btf;
use aya_obj::btf::BtfKind;

use crate::bpf::btf::Resolved;

/// What the programs are made of for this kernel.
pub(in crate::bpf) struct Source<'a> {
    pub(in crate::bpf) linked: Linked,
    pub(in crate::bpf) btf: &'a Btf,
    pub(in crate::bpf) resolved: &'a Resolved,
    /// Whether programs on tracepoints are attached several times.
    pub(in crate::bpf) copied: bool,
}

/// The object, with what it uses of the kernel by number put in. In words, so
/// that it is aligned: it is parsed in place, and half an instruction is one.
pub(in crate::bpf) struct Linked {
    words: Vec<u64>,
    /// Whether this kernel has the variable.
    pub(super) has_variable: bool,
}

/// Whether programs keep themselves from being preempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preemption {
    /// As the kernel has it.
    Unchanged,
    /// Off while a program works, where the kernel has the functions for that.
    Off,
}

/// Puts the running kernel's numbers into the object.
pub(super) fn link(object: &[u8], btf: &Btf, preemption: Preemption) -> Linked {
    let number = btf
        .id_by_type_name_kind(kernel_symbols::PREEMPT_COUNT, BtfKind::Var)
        .ok();
    let calls = calls(btf, preemption);
    let linked = |word: u64| match number {
        Some(number) if word == kernel_symbols::PLACEHOLDER => kernel_symbols::load(number),
        _ => calls
            .iter()
            .find(|(placeholder, _)| *placeholder == word)
            .map_or(word, |&(_, call)| call),
    };
    let (words, rest) = object.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let words = words
        .iter()
        .chain([&last])
        .map(|word| linked(u64::from_ne_bytes(*word)))
        .collect();
    Linked {
        words,
        has_variable: number.is_some(),
    }
}

/// What takes the place of each call of a kernel function: all of them, or nothing for each.
fn calls(btf: &Btf, preemption: Preemption) -> [(u64, u64); kernel_symbols::KFUNCS.len()] {
    let numbers =
        kernel_symbols::KFUNCS.map(|kfunc| btf.id_by_type_name_kind(kfunc.name, BtfKind::Func));
    let are_made = preemption == Preemption::Off && numbers.iter().all(Result::is_ok);
    let calls = numbers.map(|number| match number {
        Ok(number) if are_made => Kfunc::call(number),
        _ => kernel_symbols::NOTHING,
    });
    let placeholders = kernel_symbols::KFUNCS.map(Kfunc::placeholder);
    std::array::from_fn(|nth| (placeholders[nth], calls[nth]))
}

impl Linked {
    /// As a loader takes it.
    pub(in crate::bpf) fn bytes(&self) -> &[u8] {
        // SAFETY: the words' own memory, of which any part is bytes.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), size_of_val(&*self.words)) }
    }
}
