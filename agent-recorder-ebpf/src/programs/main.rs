//! The kernel programs.
//!
//! Folders are floors, and imports go down only: `hooks` are called by the
//! kernel, `dispatch` finds who knows the operation, `operations` say what was
//! done, `guard` what follows from it, `session` whose it is, `event` puts that
//! together, `context` is what a program works on, `kernel` what it reads.
//!
//! Not here: what user space shares with them, the library `agent_recorder_abi`.

#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![expect(
    internal_features,
    reason = "core::sync::atomic has no read-modify-write on this target"
)]

#[cfg(not(target_arch = "bpf"))]
compile_error!("these programs run in the kernel: build them with `cargo xtask build`");

mod context;
mod dispatch;
mod event;
mod guard;
mod hooks;
mod kernel;
mod operations;
mod session;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: unreachable: the verifier refuses any program in which a panic is left.
    unsafe { core::hint::unreachable_unchecked() }
}

/// Helpers such as bpf_probe_read_kernel are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
