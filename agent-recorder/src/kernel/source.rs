//! What the programs are loaded from and for.

use aya::Btf;

use super::offsets::Resolved;
use super::preempt::Linked;

/// What the programs are made of for this kernel.
pub(super) struct Source<'a> {
    pub(super) linked: Linked,
    pub(super) btf: &'a Btf,
    pub(super) resolved: &'a Resolved,
    /// Whether programs on tracepoints are attached several times.
    pub(super) copied: bool,
}
