//! From an event of the kernel to the operation that it is about: a call that
//! returns, a request of io_uring, a task that begins or ends.
//!
//! Not here: what an operation is recorded with (`operations`).

pub(crate) mod in_flight;
pub(crate) mod io_uring;
pub(crate) mod io_uring_fields;
pub(crate) mod syscall_exit;
pub(crate) mod task_lifecycle;
