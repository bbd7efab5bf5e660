//! The kernel programs at their hooks: which there are, what each sits on, and
//! putting them there.
//!
//! Not here: loading them (`load`).

pub(in crate::bpf) mod attached;
pub(in crate::bpf) mod hooks;
pub(in crate::bpf) mod modify_return;
