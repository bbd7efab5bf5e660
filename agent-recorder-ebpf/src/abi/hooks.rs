//! The table of hooks: one row for each place in the kernel with programs, and their names.
//!
//! The loader takes everything that it loads and attaches from here. Tests hold the entry points in
//! `programs/hooks`, and the programs of the built objects, equal to the rows.
//!
//! Not here: the rows that a profile takes (`agent_recorder::bpf`), and the acts of a program.

/// A kernel version: major, minor.
pub type Version = (u8, u8);

/// A security hook. It has two programs: a BPF LSM program that is named after
/// the hook, and one that is named after the function that calls the hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecurityHook {
    /// Name in `include/linux/lsm_hook_defs.h`.
    pub hook: &'static str,
    /// Name in `security/security.c`, `security_…`.
    pub function: &'static str,
    /// The oldest kernel with the hook; 5.7 is the first with BPF LSM.
    pub since: Version,
    /// Its programs record nothing: they are loaded only where something is refused, and a skipped
    /// one costs no record.
    pub only_decides: bool,
    /// Some arguments are structures by value: the verifier takes a program on it since 6.1.
    pub by_value: bool,
    /// Records that are lost without it; `None` where the kernel has another hook for the act, or
    /// no such act.
    pub lost: Option<&'static str>,
}

/// Loss without a hook, for most hooks.
const UNSEEN: Option<&str> = Some("what it would see is not recorded");

impl SecurityHook {
    const fn new(hook: &'static str, function: &'static str) -> Self {
        Self {
            hook,
            function,
            since: (5, 7),
            only_decides: false,
            by_value: false,
            lost: UNSEEN,
        }
    }

    const fn only_decides(self) -> Self {
        Self {
            only_decides: true,
            ..self
        }
    }

    /// A hook younger than BPF LSM, whose absence loses nothing.
    const fn since(self, major: u8, minor: u8) -> Self {
        Self {
            since: (major, minor),
            lost: None,
            ..self
        }
    }

    const fn by_value(self, lost: &'static str) -> Self {
        Self {
            by_value: true,
            lost: Some(lost),
            ..self
        }
    }

    /// Whether one of its two programs has this name.
    pub fn has_program(&self, name: &str) -> bool {
        self.hook == name || self.function == name
    }
}

const fn hook(hook: &'static str, function: &'static str) -> SecurityHook {
    SecurityHook::new(hook, function)
}

/// Rows in the order of their attachment.
pub const SECURITY_HOOKS: &[SecurityHook] = &[
    hook("path_unlink", "security_path_unlink"),
    hook("path_rmdir", "security_path_rmdir"),
    hook("path_mkdir", "security_path_mkdir"),
    hook("path_mknod", "security_path_mknod"),
    hook("path_symlink", "security_path_symlink"),
    hook("path_link", "security_path_link"),
    hook("path_rename", "security_path_rename"),
    hook("path_chmod", "security_path_chmod"),
    hook("path_chown", "security_path_chown")
        .by_value("the path of a chown is the caller's, not the kernel's own (Linux 6.1 has it)"),
    hook("path_truncate", "security_path_truncate"),
    hook("sb_mount", "security_sb_mount"),
    hook("sb_umount", "security_sb_umount"),
    hook("move_mount", "security_move_mount"),
    hook("file_truncate", "security_file_truncate").since(6, 2),
    hook("file_open", "security_file_open").only_decides(),
    hook("bprm_check_security", "security_bprm_check"),
    hook("socket_connect", "security_socket_connect"),
    hook("socket_bind", "security_socket_bind"),
    hook("socket_listen", "security_socket_listen").only_decides(),
    hook("socket_accept", "security_socket_accept").only_decides(),
    hook("socket_sendmsg", "security_socket_sendmsg"),
    hook("file_ioctl", "security_file_ioctl").only_decides(),
    hook("file_ioctl_compat", "security_file_ioctl_compat")
        .since(6, 8)
        .only_decides(),
    hook("inode_setxattr", "security_inode_setxattr"),
    hook("inode_removexattr", "security_inode_removexattr"),
    hook("ptrace_access_check", "security_ptrace_access_check").only_decides(),
    hook("task_kill", "security_task_kill").only_decides(),
    hook("task_setrlimit", "security_task_setrlimit").only_decides(),
    hook("inode_file_setattr", "security_inode_file_setattr")
        .since(6, 17)
        .only_decides(),
    hook("bpf", "security_bpf").only_decides(),
];

/// Kernels and profiles for which a tracepoint's programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// All of them.
    Always,
    /// Kernels whose tracepoints of io_uring pass the request (6.0).
    Uring,
    /// Kernels that pass a completion by pointer (6.15).
    UringByPointer,
    /// Kernels that pass the fields of a completion (6.0 to 6.14).
    UringByValue,
    /// The profile without security hooks: an inode's times change whenever an operation succeeds.
    WithoutHooks,
}

/// Substitute for a tracepoint that a kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandIn {
    /// No substitute.
    None,
    /// The program of another row.
    Tracepoint(&'static str),
    /// A program on the exit of this function (fexit), which is named after it.
    FunctionExit(&'static str),
}

/// A tracepoint, and the replicas of its program (see `programs/kernel/replica.rs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracepoint {
    /// The first replica.
    pub program: &'static str,
    /// The later replicas, in the order in which they are attached.
    pub again: &'static [&'static str],
    /// The tracepoint's names, that of the newest kernels first.
    pub names: &'static [&'static str],
    /// The oldest kernel with the first of the names and these arguments.
    pub since: Version,
    /// Kernels and profiles with it.
    pub when: When,
    /// Substitute on kernels without it.
    pub stand_in: StandIn,
    /// Records that are lost without it and its substitute; `None` where nothing is lost.
    pub lost: Option<&'static str>,
}

impl Tracepoint {
    const fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    const fn known_as(self, names: &'static [&'static str]) -> Self {
        Self { names, ..self }
    }

    const fn replaced_by(self, stand_in: StandIn) -> Self {
        Self { stand_in, ..self }
    }

    const fn lost(self, lost: Option<&'static str>) -> Self {
        Self { lost, ..self }
    }

    /// All replicas, in their order.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> {
        [self.program].into_iter().chain(self.again.iter().copied())
    }
}

/// A row with its number of replicas, which are named after the program, as this is after the
/// tracepoint.
macro_rules! tracepoint {
    ($program:literal, 2, $since:expr) => {
        tracepoint!(@row $program, &[concat!($program, "_2")], $since)
    };
    ($program:literal, 3, $since:expr) => {
        tracepoint!(@row $program, &[concat!($program, "_2"), concat!($program, "_3")], $since)
    };
    (@row $program:literal, $again:expr, $since:expr) => {
        Tracepoint {
            program: $program,
            again: $again,
            names: &[$program],
            since: $since,
            when: When::Always,
            stand_in: StandIn::None,
            lost: UNSEEN,
        }
    };
}

/// Sent bytes of sockets; without it the results of calls count them.
pub const SENT: Tracepoint = tracepoint!("sock_send_length", 3, (6, 3)).lost(None);

/// Rows in the order of their attachment: all first replicas, then the later ones.
pub const TRACEPOINTS: &[Tracepoint] = &[
    tracepoint!("task_newtask", 3, (5, 5)),
    tracepoint!("sched_process_exec", 2, (5, 5)),
    tracepoint!("sched_process_exit", 3, (5, 5)),
    tracepoint!("inet_sock_set_state", 3, (5, 5)),
    SENT,
    tracepoint!("sock_recv_length", 3, (6, 3))
        .replaced_by(StandIn::FunctionExit("sock_recvmsg"))
        .lost(Some(
            "bytes that sockets received are not counted (Linux 6.3 counts)",
        )),
    // 6.1 has the second name.
    tracepoint!("io_uring_submit_req", 3, (6, 12))
        .known_as(&["io_uring_submit_req", "io_uring_submit_sqe"])
        .when(When::Uring)
        .lost(Some(
            "what is done through io_uring is not recorded (Linux 6.0 tells)",
        )),
    tracepoint!("sys_exit", 3, (5, 5)),
    tracepoint!("io_uring_complete", 3, (6, 15))
        .when(When::UringByPointer)
        .replaced_by(StandIn::Tracepoint("io_uring_complete_by_value"))
        .lost(Some(
            "results of io_uring are not recorded (Linux 6.0 tells)",
        )),
    tracepoint!("io_uring_complete_by_value", 2, (6, 0))
        .known_as(&["io_uring_complete"])
        .when(When::UringByValue)
        .lost(None),
    tracepoint!("inode_set_ctime_to_ts", 3, (6, 13)).when(When::WithoutHooks),
    tracepoint!("ctime_ns_xchg", 3, (6, 13)).when(When::WithoutHooks),
    tracepoint!("ctime_xchg_skip", 3, (6, 13)).when(When::WithoutHooks),
];

/// A program outside sessions that shows whether the kernel calls programs of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Name of the program.
    pub program: &'static str,
    /// The hook, function or tracepoint: any process can make the kernel pass it.
    pub on: &'static str,
}

/// Probe of BPF LSM programs.
pub const PROBE_LSM: Probe = Probe {
    program: "probe_lsm",
    on: "socket_create",
};
/// Probe of programs on functions.
pub const PROBE_FENTRY: Probe = Probe {
    program: "probe_fentry",
    on: "security_socket_create",
};
/// Probe of programs on tracepoints, and of their preemption.
pub const PROBE_PREEMPTION: Probe = Probe {
    program: "probe_preemption",
    on: "sys_exit",
};
/// All probes.
pub const PROBES: &[Probe] = &[PROBE_LSM, PROBE_FENTRY, PROBE_PREEMPTION];

/// Names of all programs, in the order of the rows.
pub fn programs() -> impl Iterator<Item = &'static str> {
    let security = SECURITY_HOOKS
        .iter()
        .flat_map(|row| [row.hook, row.function]);
    let tracepoints = TRACEPOINTS.iter().flat_map(Tracepoint::programs);
    let exits = TRACEPOINTS.iter().filter_map(|row| match row.stand_in {
        StandIn::FunctionExit(function) => Some(function),
        StandIn::None | StandIn::Tracepoint(_) => None,
    });
    let probes = PROBES.iter().map(|probe| probe.program);
    security.chain(tracepoints).chain(exits).chain(probes)
}

#[cfg(test)]
mod tests;
