//! What the kernel programs are told before they are loaded.
//!
//! Not here: where that comes from (`cli::setup`).

use agent_recorder_abi::agent_rule::RuleKey;
use agent_recorder_abi::policy::{GuardConfig, NameKey};

use super::Profile;

/// What is decided before load.
#[derive(Clone, Debug)]
pub struct Options {
    /// Ring of exec, exit, fork, deletes and the guard, bytes: a power of two, at least a page.
    pub priority_ring_bytes: u32,
    /// Ring of all else.
    pub bulk_ring_bytes: u32,
    /// The guard's budgets.
    pub guard: GuardConfig,
    /// Names that the guard's policy knows.
    pub names: Vec<(NameKey, u32)>,
    /// Agent rules and their numbers, from 1.
    pub rules: Vec<(RuleKey, u32)>,
    /// Names of gated programs, and their values (`agent_recorder_abi::exec_gate`).
    pub gated: Vec<(RuleKey, u32)>,
    /// Profiles to try, the most wanted first.
    pub profiles: Vec<Profile>,
}
