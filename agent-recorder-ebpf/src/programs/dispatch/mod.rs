//! Dispatch of the kernel's events to operations: a call that returns, a request of io_uring, a
//! task that begins or ends.
//!
//! Not here: how an operation is recorded (`operations`).

pub(crate) mod in_flight;
pub(crate) mod io_uring;
pub(crate) mod io_uring_fields;
pub(crate) mod syscall_exit;
pub(crate) mod task_lifecycle;
