//! The ABI of the kernel programs and user space: plain `repr(C)` types, no dependencies, built and
//! tested on the host.
//!
//! Not here: code that runs in the kernel (the `agent-recorder-ebpf` binary), and the meaning of a
//! record (`agent_recorder::record`).
//!
//! Integers are in host order, because the rings never leave the machine. User space decodes by
//! copy and checks every length, so a damaged event is an error and never undefined behaviour.

#![cfg_attr(target_arch = "bpf", no_std)]

pub mod address;
pub mod agent_rule;
pub mod criteria;
pub mod event;
pub mod exec_gate;
pub mod hooks;
pub mod kernel_fields;
pub mod kernel_symbols;
pub mod limits;
mod pod;
pub mod policy;
pub mod self_protection;
pub mod state;
pub mod syscall;
pub mod written_file;

pub use pod::Pod;
