//! The key of an operation, from the first hook that sees it to its exit.
//!
//! Not here: the acting process (`session::actor`).

use aya_ebpf::helpers::bpf_get_current_pid_tgid;

use crate::kernel::global::scalar_newtype;
use crate::kernel::types::Kiocb;

/// A running operation: the thread that is in a call, or the request of io_uring.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct OperationKey(u64);

impl OperationKey {
    /// The call that the running thread is in.
    #[inline(always)]
    pub(crate) fn of_thread() -> Self {
        Self(bpf_get_current_pid_tgid())
    }

    /// A request of io_uring.
    #[inline(always)]
    pub(crate) fn of_request(request: Kiocb) -> Self {
        Self(request.address())
    }
}

scalar_newtype!(OperationKey(u64));
