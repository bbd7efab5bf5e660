//! The kernel programs at their hooks: the list of hooks, the programs of a profile,
//! and attaching them.
//!
//! Not here: loading them (`load`).

pub(in crate::bpf) mod attached;
pub(in crate::bpf) mod hooks;
pub(in crate::bpf) mod modify_return;
