//! What the programs are loaded from and for.

use aya::Btf;

use super::preempt::Linked;
use crate::bpf::btf::Resolved;

/// What the programs are made of for this kernel.
pub(in crate::bpf) struct Source<'a> {
    pub(in crate::bpf) linked: Linked,
    pub(in crate::bpf) btf: &'a Btf,
    pub(in crate::bpf) resolved: &'a Resolved,
    /// Whether programs on tracepoints are attached several times.
    pub(in crate::bpf) copied: bool,
}
