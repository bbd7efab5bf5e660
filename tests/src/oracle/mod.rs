//! What is right: what a stimulus says that it did, or strace saw, and how it is
//! compared with what was recorded.
//!
//! Not here: doing it (`stimuli`), having it recorded (`lab`).

pub mod check;
pub mod compare;
pub mod normal;
pub mod programs;
pub mod strace;
pub mod tally;
