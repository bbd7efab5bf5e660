//! How the guard, the exec gate and self-protection judge an operation.
//!
//! Not here: the record of the operation (`operations`).

pub(crate) mod budget;
pub(crate) mod criteria;
pub(crate) mod enforce;
pub(crate) mod exec_gate;
pub(crate) mod foreseen;
pub(crate) mod irreversible;
pub(crate) mod judge;
pub(crate) mod overwrite;
pub(crate) mod ownership;
pub(crate) mod pending_cuts;
pub(crate) mod post_op;
pub(crate) mod pre_op;
pub(crate) mod self_protection;
pub(crate) mod unmount;
pub(crate) mod verdict;
pub(crate) mod written_files;
