//! Settings of the kernel programs that are fixed before they are loaded.
//!
//! Not here: their source (`cli::setup`).

use agent_recorder_abi::agent_rule::RuleKey;
use agent_recorder_abi::policy::{GuardConfig, NameKey};

use super::Profile;

/// Settings that are fixed before load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the ring for exec, exit, fork, deletes and the guard: a power of two,
    /// at least a page.
    pub priority_ring_bytes: u32,
    /// Bytes of the ring for all other events: a power of two, at least a page.
    pub bulk_ring_bytes: u32,
    /// The guard's budgets.
    pub guard: GuardConfig,
    /// Names in the guard's policy.
    pub names: Vec<(NameKey, u32)>,
    /// Agent rules and their numbers, from 1.
    pub rules: Vec<(RuleKey, u32)>,
    /// Names of gated programs, and their values (`agent_recorder_abi::exec_gate`).
    pub gated: Vec<(RuleKey, u32)>,
    /// Profiles to try, the most wanted first.
    pub profiles: Vec<Profile>,
}
