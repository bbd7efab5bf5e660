//! Operations of sessions, as they are recorded: programs, files, sockets, other processes.
//!
//! Not here: whether one is allowed, and how it counts (`guard`).

pub(crate) mod datagram;
pub(crate) mod exec;
pub(crate) mod exec_match;
pub(crate) mod exec_names;
pub(crate) mod fd_table;
pub(crate) mod file_exit;
pub(crate) mod file_hook;
pub(crate) mod open_exit;
pub(crate) mod process_control;
pub(crate) mod socket;
pub(crate) mod socket_hook;
pub(crate) mod socket_table;
