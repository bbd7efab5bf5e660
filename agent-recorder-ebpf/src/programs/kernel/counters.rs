//! Exact counters: events made, events lost, and failures of the programs.
//!
//! They are in the lowest folder, because `compat` counts its failures, too.

use agent_recorder_abi::event::{KINDS, Trouble};
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;

/// Adds one to this CPU's counter. Atomic, because softirq can run on top.
#[inline(always)]
pub(crate) fn count(counters: &aya_ebpf::maps::PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        add(counter, 1);
    }
}

#[inline(always)]
pub(crate) fn trouble(trouble: Trouble) {
    count(&TROUBLE, trouble as u32);
}

/// Atomic addition without a result.
#[inline(always)]
pub(crate) fn add(value: *mut u64, addend: u64) {
    // SAFETY: `value` is in a map value, checked for null by the caller.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
            value, addend,
        );
    }
}

/// Events made, per kind; exact, because each CPU counts its own.
#[map]
pub(crate) static PRODUCED: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS as u32, 0);

/// Events that found their ring full, per kind.
#[map]
pub(crate) static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS as u32, 0);

/// Failures, per [`Trouble`].
#[map]
pub(crate) static TROUBLE: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(agent_recorder_abi::event::TROUBLES as u32, 0);
