//! What the end-to-end tests share: running the real binary on the real
//! kernel, and comparing what it recorded with what was done.

pub mod compare;
pub mod recorder;
pub mod stimulus;
