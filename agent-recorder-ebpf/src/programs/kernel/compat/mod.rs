//! What the programs rest on, in two versions with the same names: as kernels
//! before 5.17 give it, and as those since 5.17 do.
//!
//! Not here: prototypes that differ (`hooks`), and preemption (`preempt_guard`).

#[cfg_attr(feature = "old-kernel", path = "before_5_17.rs")]
#[cfg_attr(not(feature = "old-kernel"), path = "since_5_17.rs")]
mod version;

pub(crate) use version::*;
