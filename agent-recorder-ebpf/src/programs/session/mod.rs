//! Sessions of tasks, and the notes of one hook for a later one.
//!
//! Not here: a session's budgets (`guard`).

pub(crate) mod actor;
pub(crate) mod sockaddr_snapshot;
pub(crate) mod tag;
