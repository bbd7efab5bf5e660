//! From an event of the kernel to the operation that it is about: a call that
//! returns, a request of io_uring, a task that begins or ends.
//!
//! Not here: what an operation is recorded with (`operations`).

pub(crate) mod io_uring;
pub(crate) mod syscall_exit;
