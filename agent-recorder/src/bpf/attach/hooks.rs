//! The kernel programs, the hook of each, and the programs of each profile.
//!
//! Not here: loading and attaching the programs (`load`, `attached`).

use std::fmt;

/// A set of hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// BPF LSM programs see the objects of an operation, and refuse operations.
    Lsm,
    /// Programs on the kernel functions that call the security hooks see the same
    /// objects, and refuse where the kernel takes fmod_ret programs.
    Fentry,
    /// Programs at the exit of system calls see the arguments of the caller.
    Tracepoint,
}

impl Profile {
    /// All profiles, the strongest first.
    pub const ALL: [Self; 3] = [Self::Lsm, Self::Fentry, Self::Tracepoint];

    /// Whether the programs see objects before an operation changes them.
    pub(in crate::bpf) fn sees(self) -> bool {
        self != Self::Tracepoint
    }

    /// Whether the guard can refuse, provided that the kernel takes the deciding
    /// programs.
    pub(in crate::bpf) fn can_refuse(self) -> bool {
        self.sees()
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Lsm => "lsm",
            Self::Fentry => "fentry",
            Self::Tracepoint => "tracepoint",
        })
    }
}

/// A program and the names of its tracepoint, that of the newest kernel first.
pub(in crate::bpf) struct Tracepoint {
    pub(in crate::bpf) program: &'static str,
    /// The program's further replicas, in their order.
    pub(in crate::bpf) again: &'static [&'static str],
    pub(in crate::bpf) hooks: &'static [&'static str],
}

/// A hook that this kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The program's name.
    pub program: &'static str,
    /// What is missing from the records without the program.
    pub lost: &'static str,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.program, self.lost)
    }
}

impl Absent {
    pub(in crate::bpf) fn of(program: &'static str) -> Self {
        let lost = match program {
            "sock_recv_length" => "bytes that sockets received are not counted (Linux 6.3 counts)",
            "io_uring_submit_req" => {
                "what is done through io_uring is not recorded (Linux 6.0 tells)"
            }
            "io_uring_complete" | "io_uring_complete_by_value" => {
                "results of io_uring are not recorded (Linux 6.0 tells)"
            }
            "path_chown" | "security_path_chown" => {
                "the path of a chown is the caller's, not the kernel's own (Linux 6.1 has it)"
            }
            _ => "what it would see is not recorded",
        };
        Self { program, lost }
    }
}

/// A program on a function's exit, for kernels that lack a tracepoint.
pub(in crate::bpf) struct Replacement {
    /// The program of the missing tracepoint.
    pub(in crate::bpf) of: &'static str,
    /// The kernel function, which is also the name of the program on it.
    pub(in crate::bpf) function: &'static str,
}

pub(in crate::bpf) const REPLACEMENTS: &[Replacement] = &[Replacement {
    of: "sock_recv_length",
    function: "sock_recvmsg",
}];

const fn tracepoint(
    program: &'static str,
    again: &'static [&'static str],
    hooks: &'static [&'static str],
) -> Tracepoint {
    Tracepoint {
        program,
        again,
        hooks,
    }
}

/// The tracepoints of every profile.
pub(in crate::bpf) const TRACEPOINTS: &[Tracepoint] = &[
    tracepoint(
        "task_newtask",
        &["task_newtask_2", "task_newtask_3"],
        &["task_newtask"],
    ),
    tracepoint(
        "sched_process_exec",
        &["sched_process_exec_2"],
        &["sched_process_exec"],
    ),
    tracepoint(
        "sched_process_exit",
        &["sched_process_exit_2", "sched_process_exit_3"],
        &["sched_process_exit"],
    ),
    tracepoint(
        "inet_sock_set_state",
        &["inet_sock_set_state_2", "inet_sock_set_state_3"],
        &["inet_sock_set_state"],
    ),
    tracepoint(
        "sock_send_length",
        &["sock_send_length_2", "sock_send_length_3"],
        &["sock_send_length"],
    ),
    tracepoint(
        "sock_recv_length",
        &["sock_recv_length_2", "sock_recv_length_3"],
        &["sock_recv_length"],
    ),
    // 6.12 has the first name, 6.1 the second.
    tracepoint(
        "io_uring_submit_req",
        &["io_uring_submit_req_2", "io_uring_submit_req_3"],
        &["io_uring_submit_req", "io_uring_submit_sqe"],
    ),
    tracepoint("sys_exit", &["sys_exit_2", "sys_exit_3"], &["sys_exit"]),
];
/// Tracepoints that replace the security hooks in the profile `tracepoint`: they pass
/// every inode whose times change.
pub(in crate::bpf) const TOUCHES: &[Tracepoint] = &[
    tracepoint(
        "inode_set_ctime_to_ts",
        &["inode_set_ctime_to_ts_2", "inode_set_ctime_to_ts_3"],
        &["inode_set_ctime_to_ts"],
    ),
    tracepoint(
        "ctime_ns_xchg",
        &["ctime_ns_xchg_2", "ctime_ns_xchg_3"],
        &["ctime_ns_xchg"],
    ),
    tracepoint(
        "ctime_xchg_skip",
        &["ctime_xchg_skip_2", "ctime_xchg_skip_3"],
        &["ctime_xchg_skip"],
    ),
];
pub(in crate::bpf) const SENT: &str = "sock_send_length";
pub(in crate::bpf) const COMPLETE: Tracepoint = tracepoint(
    "io_uring_complete",
    &["io_uring_complete_2", "io_uring_complete_3"],
    &["io_uring_complete"],
);
pub(in crate::bpf) const COMPLETE_BY_VALUE: Tracepoint = tracepoint(
    "io_uring_complete_by_value",
    &["io_uring_complete_by_value_2"],
    &["io_uring_complete"],
);

/// Security hooks. A BPF LSM program has the name of its hook; a program on the
/// function that calls the hook has the name of that function, `security_…`.
pub(in crate::bpf) const SECURITY_HOOKS: &[(&str, &str)] = &[
    ("path_unlink", "security_path_unlink"),
    ("path_rmdir", "security_path_rmdir"),
    ("path_mkdir", "security_path_mkdir"),
    ("path_mknod", "security_path_mknod"),
    ("path_symlink", "security_path_symlink"),
    ("path_link", "security_path_link"),
    ("path_rename", "security_path_rename"),
    ("path_chmod", "security_path_chmod"),
    ("path_chown", "security_path_chown"),
    ("path_truncate", "security_path_truncate"),
    ("sb_mount", "security_sb_mount"),
    ("sb_umount", "security_sb_umount"),
    ("move_mount", "security_move_mount"),
    ("file_truncate", "security_file_truncate"),
    ("file_open", "security_file_open"),
    ("bprm_check_security", "security_bprm_check"),
    ("socket_connect", "security_socket_connect"),
    ("socket_bind", "security_socket_bind"),
    ("socket_listen", "security_socket_listen"),
    ("socket_accept", "security_socket_accept"),
    ("socket_sendmsg", "security_socket_sendmsg"),
    ("file_ioctl", "security_file_ioctl"),
    ("file_ioctl_compat", "security_file_ioctl_compat"),
    ("inode_setxattr", "security_inode_setxattr"),
    ("inode_removexattr", "security_inode_removexattr"),
    ("ptrace_access_check", "security_ptrace_access_check"),
    ("task_kill", "security_task_kill"),
    ("task_setrlimit", "security_task_setrlimit"),
    ("inode_file_setattr", "security_inode_file_setattr"),
    ("bpf", "security_bpf"),
];
/// Hooks that older kernels lack without a loss: another hook is passed there, or the
/// operation does not exist there.
pub(in crate::bpf) const YOUNG: [&str; 3] =
    ["file_truncate", "file_ioctl_compat", "inode_file_setattr"];

/// Hooks with structures as arguments by value: before 6.1 the kernel attaches no
/// program to them.
pub(in crate::bpf) const BY_VALUE: [&str; 1] = ["path_chown"];
/// Prefix of the names of io_uring programs.
pub(in crate::bpf) const URING: &str = "io_uring_";

/// Hooks whose programs only decide. Where nothing is refused they are not loaded,
/// and a skipped run of one loses no record.
pub(in crate::bpf) const ONLY_DECIDING: [&str; 10] = [
    "file_open",
    "socket_listen",
    "socket_accept",
    "file_ioctl",
    "file_ioctl_compat",
    "ptrace_access_check",
    "task_kill",
    "task_setrlimit",
    "inode_file_setattr",
    "bpf",
];

/// Whether `name` is one of these hooks, or the function that calls one of them.
pub(in crate::bpf) fn is_one_of(hooks: &[&str], name: &str) -> bool {
    hooks.contains(&name.strip_prefix("security_").unwrap_or(name))
}

/// The name of a security hook's program in a profile.
pub(in crate::bpf) fn named(
    &(hook, function): &(&'static str, &'static str),
    profile: Profile,
) -> &'static str {
    match profile {
        Profile::Lsm => hook,
        Profile::Fentry | Profile::Tracepoint => function,
    }
}

/// The tracepoints of every kernel.
pub(in crate::bpf) fn tracepoints() -> impl Iterator<Item = &'static Tracepoint> {
    TRACEPOINTS
        .iter()
        .chain(&[COMPLETE, COMPLETE_BY_VALUE])
        .chain(TOUCHES)
}
