//! The counts that make loss exact: events made, events lost, and things that could not be done.
//!
//! The lowest floor, for even what differs between kernels counts what it could not do.

use agent_recorder_abi::event::{KINDS, Trouble};
use aya_ebpf::macros::map;
use aya_ebpf::maps::PerCpuArray;

/// Adds one to this CPU's counter. Atomic, for softirq can come in between.
#[inline(always)]
pub(crate) fn count(counters: &aya_ebpf::maps::PerCpuArray<u64>, index: u32) {
    if let Some(counter) = counters.get_ptr_mut(index) {
        add(counter, 1);
    }
}

/// Counts what could not be done.
#[inline(always)]
pub(crate) fn trouble(trouble: Trouble) {
    count(&TROUBLE, trouble as u32);
}

/// Atomic addition, for whoever does not ask what stood there before.
#[inline(always)]
pub(crate) fn add(value: *mut u64, addend: u64) {
    // SAFETY: `value` is in a map value that was checked not null.
    unsafe {
        core::intrinsics::atomic_xadd::<u64, u64, { core::intrinsics::AtomicOrdering::Relaxed }>(
            value, addend,
        );
    }
}

/// Events made, per kind; exact, for each CPU counts its own.
#[map]
pub(crate) static PRODUCED: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS as u32, 0);

/// Of those, events that found their ring full.
#[map]
pub(crate) static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(KINDS as u32, 0);

/// Things that could not be done, see [`Trouble`].
#[map]
pub(crate) static TROUBLE: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(agent_recorder_abi::event::TROUBLES as u32, 0);
