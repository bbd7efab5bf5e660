//! A probe whether this kernel preempts tasks in programs on tracepoints. If it does,
//! each program is attached as several replicas (`replica` among the kernel programs)
//! and turns preemption off while it runs (`preempt_guard`).

use agent_recorder_abi::hooks::{PROBE_PREEMPTION, Probe};
use aya::Ebpf;
use aya::maps::Array;
use aya::programs::BtfTracePoint;

use super::programs::{attach_one, program, unload};
use super::source::Source;
use crate::bpf::Error;
use crate::bpf::error::{map_error, missing};

/// Whether the kernel preempts tasks in programs on tracepoints. Kernels before Linux
/// 7 turn preemption off themselves; those of them from 6.2 to 6.14 lack the
/// preemption count as a variable of its own, and are not probed.
///
/// # Errors
///
/// The kernel refuses the probe.
pub(super) fn tracepoints_are_preemptible(
    source: &Source<'_>,
    load: impl FnOnce() -> Result<Ebpf, Error>,
) -> Result<bool, Error> {
    if !source.linked.has_variable {
        return Ok(false);
    }
    let bpf = &mut load()?;
    let Probe { program: name, on } = PROBE_PREEMPTION;
    let probe: &mut BtfTracePoint = program(bpf, name)?;
    // A kernel that hides the addresses of its variables (kallsyms) cannot be probed.
    // The skipped runs are counted all the same.
    if probe.load(on, source.btf).is_err() {
        return Ok(false);
    }
    attach_one(name, probe.attach())?;
    let count = count_seen(bpf);
    unload(bpf, name)?;
    Ok(count? == Some(0))
}

/// The preemption count that the probe saw at the exit of a system call of this
/// process.
fn count_seen(bpf: &mut Ebpf) -> Result<Option<u32>, Error> {
    let failed = |error| map_error("PROBE", &error);
    let map = bpf.map_mut("PROBE").ok_or_else(|| missing("PROBE"))?;
    let mut answers: Array<_, u32> = Array::try_from(map).map_err(failed)?;
    // The program already sees the exit of this bpf(2) call.
    answers.set(0, std::process::id(), 0).map_err(failed)?;
    let left = answers.get(&0, 0).map_err(failed)?;
    let count = answers.get(&1, 0).map_err(failed)?;
    Ok((left == 0).then_some(count))
}
