//! The truth: a stimulus's own account of its acts, or strace's, and the comparison
//! with the records.
//!
//! Not here: the acts (`stimuli`), and recording them (`lab`).

pub mod check;
pub mod compare;
pub mod normal;
pub mod programs;
pub mod strace;
pub mod tally;
