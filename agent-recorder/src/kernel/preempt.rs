//! Whether programs on tracepoints can be preempted on this kernel: then each
//! is attached twice (see `once` among the kernel programs).

use agent_recorder_abi::ksym;
use aya::maps::Array;
use aya::programs::BtfTracePoint;
use aya::{Btf, Ebpf};
use aya_obj::btf::BtfKind;

use super::Error;
use super::error::{map_error, missing};
use super::hooks::{attach_one, program, unload};

const PROBE: &str = "probe_preemption";

/// The object, with the kernel variable that the probe reads put in. In words,
/// so that it is aligned: it is parsed in place, and half an instruction is one.
pub(super) struct Linked {
    words: Vec<u64>,
    /// Whether this kernel has the variable.
    has_variable: bool,
}

/// Puts the running kernel's number of the variable into the object.
pub(super) fn link(object: &[u8], btf: &Btf) -> Linked {
    let number = btf
        .id_by_type_name_kind(ksym::PREEMPT_COUNT, BtfKind::Var)
        .ok();
    let linked = |word: u64| match number {
        Some(number) if word == ksym::PLACEHOLDER => ksym::load(number),
        _ => word,
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
        bpf: &mut Ebpf,
        btf: &Btf,
    ) -> Result<bool, Error> {
        if !self.has_variable {
            return Ok(false);
        }
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
