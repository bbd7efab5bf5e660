//! The table of system calls: one row a call, with its operation and the positions of its
//! arguments.
//!
//! The programs dispatch on the table (an array map that user space fills), so a call without a row
//! leaves after one look-up.

mod calls;
mod ia32;
mod spec;
mod x86_64;

pub use calls::{PARTS, ROW_ATTRIBUTES, ROW_SUBVOLUME, ROW_SUBVOLUME_BY_ID};
pub use ia32::IA32;
pub use spec::{
    HANDLE_ACCEPT, HANDLE_BIND, HANDLE_CLOSE, HANDLE_CLOSE_RANGE, HANDLE_CONNECT, HANDLE_CONTROL,
    HANDLE_COPY, HANDLE_DUP, HANDLE_EXEC, HANDLE_FALLOCATE, HANDLE_FILE, HANDLE_IOCTL,
    HANDLE_LISTEN, HANDLE_NONE, HANDLE_OPEN, HANDLE_PWRITE, HANDLE_SENDFILE, HANDLE_SENDMMSG,
    HANDLE_SENDMSG, HANDLE_SENDTO, HANDLE_SOCKETCALL, HANDLE_SPLICE, HANDLE_URING_ENTER,
    HANDLE_WRITE, HANDLE_WRITEV, MARK_AT_FOLLOW, MARK_AT_NOFOLLOW, MARK_CREAT, MARK_FCNTL,
    MARK_FOLLOWS, MARK_HOW, MARK_LENGTH_AT, MARK_LENGTH_PAIR, MARK_OWNER16, MARK_PIDFD,
    MARK_REMOVEDIR, NO_ARG, Spec,
};
pub use x86_64::X86_64;
