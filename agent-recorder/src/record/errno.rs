//! Names of error numbers, as errno(3) and `include/uapi/asm-generic/errno*.h` have them.

macro_rules! names {
    ($($name:ident),* $(,)?) => {
        /// The name of an errno (positive), `None` for a number Linux does not use.
        pub fn errno_name(errno: u32) -> Option<&'static str> {
            match i32::try_from(errno).ok()? {
                $(libc::$name => Some(stringify!($name)),)*
                // The kernel uses these internally; the C library lacks them
                // (include/linux/errno.h).
                512 => Some("ERESTARTSYS"),
                513 => Some("ERESTARTNOINTR"),
                514 => Some("ERESTARTNOHAND"),
                516 => Some("ERESTART_RESTARTBLOCK"),
                524 => Some("ENOTSUPP"),
                _ => None,
            }
        }
    };
}

names! {
    EPERM, ENOENT, ESRCH, EINTR, EIO, ENXIO, E2BIG, ENOEXEC, EBADF, ECHILD, EAGAIN, ENOMEM, EACCES,
    EFAULT, ENOTBLK, EBUSY, EEXIST, EXDEV, ENODEV, ENOTDIR, EISDIR, EINVAL, ENFILE, EMFILE, ENOTTY,
    ETXTBSY, EFBIG, ENOSPC, ESPIPE, EROFS, EMLINK, EPIPE, EDOM, ERANGE, EDEADLK, ENAMETOOLONG,
    ENOLCK, ENOSYS, ENOTEMPTY, ELOOP, ENOMSG, EIDRM, ENOSTR, ENODATA, ETIME, ENOSR, EREMOTE,
    ENOLINK, EPROTO, EMULTIHOP, EBADMSG, EOVERFLOW, EUSERS, ENOTSOCK, EDESTADDRREQ, EMSGSIZE,
    EPROTOTYPE, ENOPROTOOPT, EPROTONOSUPPORT, ESOCKTNOSUPPORT, EOPNOTSUPP, EPFNOSUPPORT,
    EAFNOSUPPORT, EADDRINUSE, EADDRNOTAVAIL, ENETDOWN, ENETUNREACH, ENETRESET, ECONNABORTED,
    ECONNRESET, ENOBUFS, EISCONN, ENOTCONN, ESHUTDOWN, ETOOMANYREFS, ETIMEDOUT, ECONNREFUSED,
    EHOSTDOWN, EHOSTUNREACH, EALREADY, EINPROGRESS, ESTALE, EUCLEAN, EDQUOT, ENOMEDIUM,
    EMEDIUMTYPE, ECANCELED, ENOKEY, EKEYEXPIRED, EKEYREVOKED, EKEYREJECTED, EOWNERDEAD,
    ENOTRECOVERABLE, ERFKILL, EHWPOISON,
}
