//! The object that programs are loaded from, with the running kernel's numbers put
//! in.
//!
//! Not here: the choice of the object (`object`), and the probe for preemption
//! (`preempt`).

use agent_recorder_abi::kernel_symbols::{self, Kfunc};
use aya::Btf;
use aya_obj::btf::BtfKind;

use crate::bpf::btf::Resolved;

/// The source of the programs for this kernel.
pub(in crate::bpf) struct Source<'a> {
    pub(in crate::bpf) linked: Linked,
    pub(in crate::bpf) btf: &'a Btf,
    pub(in crate::bpf) resolved: &'a Resolved,
    /// Whether programs on tracepoints are attached as several replicas.
    pub(in crate::bpf) copied: bool,
}

/// The object with the running kernel's addresses and function numbers. It is a
/// vector of words for its alignment: the object is parsed in place.
pub(in crate::bpf) struct Linked {
    words: Vec<u64>,
    /// Whether this kernel has the preemption count as a variable.
    pub(super) has_variable: bool,
}

/// Whether programs turn preemption off while they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preemption {
    /// Preemption stays as the kernel has it.
    Unchanged,
    /// Preemption is off while a program runs, where the kernel has the functions for
    /// that.
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

/// The replacement of each call of a kernel function: all functions are called, or
/// none.
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
    /// The object as a loader takes it.
    pub(in crate::bpf) fn bytes(&self) -> &[u8] {
        // SAFETY: the range is exactly the memory of `self.words`, which outlives the
        // borrow; every byte of a word is a valid `u8`.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), size_of_val(&*self.words)) }
    }
}
