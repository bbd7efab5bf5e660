//! Whose a task is, and what is noted on it from one hook to the next.
//!
//! Not here: a session's budgets (`guard`).

pub(crate) mod actor;
pub(crate) mod sockaddr_snapshot;
pub(crate) mod tag;
