//! Whether programs on tracepoints can be preempted on this kernel: then each
//! is attached several times (see `once` among the kernel programs), and keeps
//! preemption off while it works (`unpreempted`).

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::BtfTracePoint;

use super::programs::{attach_one, program, unload};
use super::source::Source;
use crate::bpf::Error;
use crate::bpf::error::{map_error, missing};

const PROBE: &str = "probe_preemption";

/// Whether a task is known to be preempted in programs on tracepoints. Kernels
/// that do not have the count as a variable of its own (6.2 to 6.14, where it
/// is part of another) turn preemption off themselves, as all did before Linux 7.
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
    let probe: &mut BtfTracePoint = program(bpf, PROBE)?;
    // One that does not show where its variables are (kallsyms) cannot be
    // asked. What it skips is counted all the same.
    if probe.load("sys_exit", source.btf).is_err() {
        return Ok(false);
    }
    attach_one(PROBE, probe.attach())?;
    let count = count_seen(bpf);
    unload(bpf, PROBE)?;
    Ok(count? == Some(0))
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
