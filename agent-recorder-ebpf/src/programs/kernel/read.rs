//! Reading the kernel's own structures, by offsets of the running kernel.
//!
//! Two ways: `walk` follows a pointer whose type the verifier knows (current
//! task, arguments of hooks) with a plain load; `read` goes through
//! bpf_probe_read_kernel for addresses that it knows nothing of, and gives
//! zero where nothing can be read: callers treat 0 as "not there". The offsets,
//! and the other globals that user space freezes before load, are here, too.
//!
//! Not here: `walk`, which differs between kernels (`compat`).

use core::mem::MaybeUninit;
use core::ptr;

use agent_recorder_abi::Pod;
use agent_recorder_abi::kernel_fields::Offsets;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

/// Set by user space before load, frozen then.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::UNRESOLVED;

/// The guard's configuration; set by user space before load.
#[unsafe(no_mangle)]
static GUARD: agent_recorder_abi::policy::GuardConfig =
    agent_recorder_abi::policy::GuardConfig::OFF;

/// Which hooks are in use; set by user space before load.
#[unsafe(no_mangle)]
static HOOKS: agent_recorder_abi::state::Hooks = agent_recorder_abi::state::Hooks::NONE;

/// What `file_count` holds for a file with one reference: 1, and 0 since 6.13 (`FILE_REF_ONEREF`).
#[unsafe(no_mangle)]
static FILE_ONE_REFERENCE: u64 = 1;

/// One field's offset.
macro_rules! offset {
    ($field:ident) => {
        $crate::kernel::read::offset_at(core::mem::offset_of!(
            agent_recorder_abi::kernel_fields::Offsets,
            $field
        ))
    };
}
pub(crate) use offset;

/// The number at a byte offset of [`OFFSETS`].
#[inline(always)]
pub(crate) fn offset_at(at: usize) -> usize {
    // SAFETY: `at` is offset_of! a u32 field. Volatile, for the compiler must not fold the value it sees here.
    unsafe {
        ptr::read_volatile(ptr::addr_of!(OFFSETS).cast::<u8>().add(at).cast::<u32>()) as usize
    }
}

/// The guard's configuration.
#[inline(always)]
pub(crate) fn guard_config() -> agent_recorder_abi::policy::GuardConfig {
    // SAFETY: a static of plain integers; volatile for the same reason as above.
    unsafe { ptr::read_volatile(ptr::addr_of!(GUARD)) }
}

/// Which hooks are in use.
#[inline(always)]
pub(crate) fn hooks() -> agent_recorder_abi::state::Hooks {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(ptr::addr_of!(HOOKS)) }
}

/// See [`FILE_ONE_REFERENCE`].
#[inline(always)]
pub(crate) fn file_one_reference() -> u64 {
    // SAFETY: as above.
    unsafe { ptr::read_volatile(ptr::addr_of!(FILE_ONE_REFERENCE)) }
}

/// Loads from a kernel address; zero where that fails.
#[inline(always)]
pub(crate) fn read<T: Pod + Default>(address: u64, offset: usize) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination has the size that is named; the helper writes all of it, zeros on failure.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (address + offset as u64) as *const _,
        );
        value.assume_init()
    }
}

/// Loads from the caller's memory; zero where that fails.
#[inline(always)]
pub(crate) fn read_user<T: Pod + Default>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `read`.
    unsafe {
        bpf_probe_read_user(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        value.assume_init()
    }
}

/// `value & mask`, done where the verifier sees it: the compiler may not prove it away.
#[inline(always)]
pub(crate) fn bound<const MASK: u64>(value: u64) -> u64 {
    let mut bounded = value;
    // SAFETY: one arithmetic instruction on a register.
    unsafe { core::arch::asm!("{0} &= {1}", inout(reg) bounded, const MASK) };
    bounded
}
