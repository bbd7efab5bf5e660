//! Differences between kernels, in two variants with the same names: before and since 5.17.
//!
//! Not here: prototypes that differ (`hooks`), and preemption (`preempt_guard`).

#[cfg_attr(feature = "old-kernel", path = "before_5_17.rs")]
#[cfg_attr(not(feature = "old-kernel"), path = "since_5_17.rs")]
mod version;

pub(crate) use version::*;
