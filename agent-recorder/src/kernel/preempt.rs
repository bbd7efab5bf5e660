//! Whether programs on tracepoints can be preempted on this kernel: then each
//! is attached several times (see `once` among the kernel programs), and keeps
//! preemption off while it works (`unpreempted`).

use agent_recorder_abi::kernel_symbols::{self, Kfunc};
use aya::maps::Array;
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};
use aya_obj::btf::BtfKind;

use super::Error;
use super::error::{map_error, missing};
use super::hooks::{attach_one, program, unload};

const PROBE: &str = "probe_preemption";

/// The object, with what it uses of the kernel by number put in. In words, so
/// that it is aligned: it is parsed in place, and half an instruction is one.
pub(super) struct Linked {
    words: Vec<u64>,
    /// Whether this kernel has the variable.
    has_variable: bool,
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
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the words' own memory, of which any part is bytes.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), size_of_val(&*self.words)) }
    }

    /// Whether a task is known to be preempted in programs on tracepoints. Kernels
    /// that do not have the count as a variable of its own (6.2 to 6.14, where it
    /// is part of another) turn preemption off themselves, as all did before Linux 7.
    ///
    /// # Errors
    ///
    /// The kernel refuses the probe.
    pub(super) fn tracepoints_are_preemptible(
        &self,
        btf: &Btf,
        load: impl FnOnce() -> Result<Ebpf, Error>,
    ) -> Result<bool, Error> {
        if !self.has_variable {
            return Ok(false);
        }
        let bpf = &mut load()?;
        let probe: &mut BtfTracePoint = program(bpf, PROBE)?;
        // One that does not show where its variables are (kallsyms) cannot be
        // asked. What it skips is counted all the same.
        if probe.load("sys_exit", btf).is_err() {
            return Ok(false);
        }
        attach_one(PROBE, probe.attach())?;
        let count = count_seen(bpf);
        unload(bpf, PROBE)?;
        Ok(count? == Some(0))
    }
}

/// What the probe saw at the exit of a call of ours.
fn count_seen(bpf: &mut Ebpf) -> Result<Option<u32>, Error> {
    let failed = |error| map_error("PROBE", &error);
    let map = bpf.map_mut("PROBE").ok_or_else(|| missing("PROBE"))?;
    let mut answers: Array<_, u32> = Array::try_from(map).map_err(failed)?;
    // The exit of this very call is seen already.
    answers.set(0, std::process::id(), 0).map_err(failed)?;
    let left = answers.get(&0, 0).map_err(failed)?;
    let count = answers.get(&1, 0).map_err(failed)?;
    Ok((left == 0).then_some(count))
}
