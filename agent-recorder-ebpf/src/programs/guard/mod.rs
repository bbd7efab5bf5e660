//! What the guard, the gate and the recorder's protection of itself make of an operation.
//!
//! Not here: that the operation is recorded (`operations`).

pub(crate) mod budget;
pub(crate) mod criteria;
pub(crate) mod enforce;
pub(crate) mod exec_gate;
pub(crate) mod irreversible;
pub(crate) mod overwrite;
pub(crate) mod ownership;
pub(crate) mod post_op;
pub(crate) mod pre_op;
pub(crate) mod self_protection;
pub(crate) mod unmount;
pub(crate) mod verdict;
pub(crate) mod written_files;
