//! Reads of the kernel's structures at the offsets of the running kernel.
//!
//! `walk` follows a pointer whose type the verifier knows (current task, arguments of hooks) with a
//! plain load. `read` goes through bpf_probe_read_kernel for all other addresses and gives zero
//! where the read fails, so callers treat 0 as "absent". The offsets and the other globals that
//! user space freezes before load are here, too.
//!
//! Not here: `walk`, which differs between kernels (`compat`).

use core::mem::MaybeUninit;
use core::ptr;

use agent_recorder_abi::Pod;
use agent_recorder_abi::kernel_fields::Offsets;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

/// Offsets of fields; set by user space, and frozen before load.
#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::UNRESOLVED;

/// Configuration of the guard; set by user space before load.
#[unsafe(no_mangle)]
static GUARD: agent_recorder_abi::policy::GuardConfig =
    agent_recorder_abi::policy::GuardConfig::OFF;

/// Hooks in use; set by user space before load.
#[unsafe(no_mangle)]
static HOOKS: agent_recorder_abi::state::Hooks = agent_recorder_abi::state::Hooks::NONE;

/// `file_count` of a file with one reference: 1, and 0 since 6.13 (`FILE_REF_ONEREF`).
#[unsafe(no_mangle)]
static FILE_ONE_REFERENCE: u64 = 1;

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
    // SAFETY: `at` is offset_of! a u32 field. Volatile, or the initial value would be folded.
    unsafe {
        ptr::read_volatile(ptr::addr_of!(OFFSETS).cast::<u8>().add(at).cast::<u32>()) as usize
    }
}

#[inline(always)]
pub(crate) fn guard_config() -> agent_recorder_abi::policy::GuardConfig {
    // SAFETY: GUARD is a static of integers. Volatile, or the initial value would be folded.
    unsafe { ptr::read_volatile(ptr::addr_of!(GUARD)) }
}

#[inline(always)]
pub(crate) fn hooks() -> agent_recorder_abi::state::Hooks {
    // SAFETY: HOOKS is a static of integers. Volatile, or the initial value would be folded.
    unsafe { ptr::read_volatile(ptr::addr_of!(HOOKS)) }
}

/// See [`FILE_ONE_REFERENCE`].
#[inline(always)]
pub(crate) fn file_one_reference() -> u64 {
    // SAFETY: the static is an integer. Volatile, or the initial value would be folded.
    unsafe { ptr::read_volatile(ptr::addr_of!(FILE_ONE_REFERENCE)) }
}

/// Loads from a kernel address; zero where that fails.
#[inline(always)]
pub(crate) fn read<T: Pod + Default>(address: u64, offset: usize) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes all bytes, zeros on failure; any bytes are a `Pod`.
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
    // SAFETY: the helper writes all bytes, zeros on failure; any bytes are a `Pod`.
    unsafe {
        bpf_probe_read_user(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        value.assume_init()
    }
}

/// `value & MASK` in an instruction for the verifier, which the compiler cannot prove away.
#[inline(always)]
pub(crate) fn bound<const MASK: u64>(value: u64) -> u64 {
    let mut bounded = value;
    // SAFETY: one arithmetic instruction on a register.
    unsafe { core::arch::asm!("{0} &= {1}", inout(reg) bounded, const MASK) };
    bounded
}
