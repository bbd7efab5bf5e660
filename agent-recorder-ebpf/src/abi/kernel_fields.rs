//! Offsets of the kernel's fields that the programs read.
//!
//! Rust emits no CO-RE relocations. User space resolves each field from the
//! kernel's own BTF and sets this structure, a frozen global, before the
//! programs load: the verifier sees constants.

/// Offset of a field that this kernel lacks, which must be optional.
pub const ABSENT: u32 = u32::MAX;

/// One field to resolve.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Type that contains the field, without `struct`.
    pub type_name: &'static str,
    /// Path within the type; alternatives are separated by `|`, newest kernel first.
    pub path: &'static str,
    /// Whether the programs work without the field.
    pub optional: bool,
}

macro_rules! offsets {
    ($($name:ident: $kind:literal $path:literal $($optional:ident)?;)*) => {
        /// Byte offsets, [`ABSENT`] where an optional field is missing.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is the offset of the field it is named after, listed in FIELDS")]
        pub struct Offsets {
            $(pub $name: u32,)*
        }

        /// The fields, in the order of the structure.
        pub const FIELDS: &[Field] = &[
            $(Field {
                type_name: $kind,
                path: $path,
                optional: !stringify!($($optional)?).is_empty(),
            },)*
        ];

        impl Offsets {
            /// Offsets before resolution.
            pub const UNRESOLVED: Self = Self { $($name: 0,)* };

            /// Offsets from values in the order of [`FIELDS`].
            #[cfg(not(target_arch = "bpf"))]
            pub fn from_values(values: &[u32]) -> Option<Self> {
                let mut values = values.iter().copied();
                let offsets = Self { $($name: values.next()?,)* };
                values.next().is_none().then_some(offsets)
            }
        }
    };
}

offsets! {
    task_files: "task_struct" "files";
    task_exec_id: "task_struct" "self_exec_id";
    task_fs: "task_struct" "fs";
    task_mm: "task_struct" "mm";
    task_leader: "task_struct" "group_leader";
    task_parent: "task_struct" "real_parent";
    task_tgid: "task_struct" "tgid";
    task_pid: "task_struct" "pid";
    task_start: "task_struct" "start_boottime|real_start_time";
    task_thread_pid: "task_struct" "thread_pid";
    task_signal: "task_struct" "signal";
    task_exit_code: "task_struct" "exit_code";
    task_loginuid: "task_struct" "loginuid" optional;
    task_flags: "task_struct" "flags";
    task_worker: "task_struct" "worker_private|pf_io_worker" optional;
    worker_work: "io_worker" "cur_work" optional;
    task_status: "task_struct" "thread_info.status" optional;
    pid_level: "pid" "level";
    pid_numbers: "pid" "numbers";
    pid_tasks: "pid" "tasks";
    task_pid_links: "task_struct" "pid_links";
    proc_inode: "proc_inode" "vfs_inode";
    proc_pid: "proc_inode" "pid";
    signal_live: "signal_struct" "live";
    signal_flags: "signal_struct" "flags";
    signal_exit_code: "signal_struct" "group_exit_code";
    mm_exe: "mm_struct" "exe_file";
    mm_arg_start: "mm_struct" "arg_start";
    mm_arg_end: "mm_struct" "arg_end";
    mm_env_start: "mm_struct" "env_start";
    mm_env_end: "mm_struct" "env_end";
    files_fdt: "files_struct" "fdt";
    files_count: "files_struct" "count";
    fdt_fd: "fdtable" "fd";
    fdt_max: "fdtable" "max_fds";
    fs_root: "fs_struct" "root";
    fs_pwd: "fs_struct" "pwd";
    path_mnt: "path" "mnt";
    path_dentry: "path" "dentry";
    file_path: "file" "f_path";
    file_inode: "file" "f_inode";
    file_mode: "file" "f_mode";
    file_pos: "file" "f_pos";
    file_private: "file" "private_data";
    file_count: "file" "f_ref|f_count";
    dentry_parent: "dentry" "d_parent";
    dentry_inode: "dentry" "d_inode";
    dentry_name: "dentry" "d_name.name";
    dentry_name_hash: "dentry" "d_name.hash_len";
    dentry_alias: "dentry" "d_u.d_alias|d_alias";
    dentry_children: "dentry" "d_children|d_subdirs";
    dentry_sibling: "dentry" "d_sib|d_child";
    inode_sb: "inode" "i_sb";
    inode_ino: "inode" "i_ino";
    inode_generation: "inode" "i_generation";
    inode_mode: "inode" "i_mode";
    inode_private: "inode" "i_private";
    inode_nlink: "inode" "i_nlink";
    inode_size: "inode" "i_size";
    inode_blocks: "inode" "i_blocks";
    inode_aliases: "inode" "i_dentry";
    inode_modified_s: "inode" "i_mtime_sec|__i_mtime.tv_sec|i_mtime.tv_sec";
    inode_modified_ns: "inode" "i_mtime_nsec|__i_mtime.tv_nsec|i_mtime.tv_nsec";
    sb_dev: "super_block" "s_dev";
    sb_magic: "super_block" "s_magic";
    mount_parent: "mount" "mnt_parent";
    mount_point: "mount" "mnt_mountpoint";
    mount_mnt: "mount" "mnt";
    mount_ns: "mount" "mnt_ns";
    mount_ns_inum: "mnt_namespace" "ns.inum";
    vfsmount_root: "vfsmount" "mnt_root";
    binprm_filename: "linux_binprm" "filename";
    binprm_file: "linux_binprm" "file";
    msghdr_name: "msghdr" "msg_name";
    msghdr_namelen: "msghdr" "msg_namelen";
    socket_sk: "socket" "sk";
    socket_type: "socket" "type";
    socket_file: "socket" "file";
    socket_inode: "socket_alloc" "vfs_inode";
    sock_socket: "sock" "sk_socket";
    sock_family: "sock" "__sk_common.skc_family";
    sock_state: "sock" "__sk_common.skc_state";
    sock_daddr: "sock" "__sk_common.skc_daddr";
    sock_saddr: "sock" "__sk_common.skc_rcv_saddr";
    sock_dport: "sock" "__sk_common.skc_dport";
    sock_sport: "sock" "__sk_common.skc_num";
    sock_daddr6: "sock" "__sk_common.skc_v6_daddr";
    sock_saddr6: "sock" "__sk_common.skc_v6_rcv_saddr";
    sock_err: "sock" "sk_err";
    unix_addr: "unix_sock" "addr";
    unix_peer: "unix_sock" "peer";
    unix_addr_len: "unix_address" "len";
    unix_addr_name: "unix_address" "name";
    kiocb_opcode: "io_kiocb" "opcode";
    kiocb_cmd: "io_kiocb" "cmd" optional;
    kiocb_fd: "io_kiocb" "cqe.fd" optional;
    kiocb_flags: "io_kiocb" "flags";
    kiocb_work: "io_kiocb" "work";
    kiocb_file: "io_kiocb" "file";
    filename_name: "filename" "name";
    cqe_res: "io_uring_cqe" "res" optional;
    io_unlink_dfd: "io_unlink" "dfd" optional;
    io_unlink_flags: "io_unlink" "flags" optional;
    io_unlink_name: "io_unlink" "filename" optional;
    io_rename_old_dfd: "io_rename" "old_dfd" optional;
    io_rename_new_dfd: "io_rename" "new_dfd" optional;
    io_rename_old: "io_rename" "oldpath" optional;
    io_rename_new: "io_rename" "newpath" optional;
    io_rename_flags: "io_rename" "flags" optional;
    io_open_dfd: "io_open" "dfd" optional;
    io_open_name: "io_open" "filename" optional;
    io_open_flags: "io_open" "how.flags" optional;
    io_open_mode: "io_open" "how.mode" optional;
    io_open_slot: "io_open" "file_slot" optional;
    io_mkdir_dfd: "io_mkdir" "dfd" optional;
    io_mkdir_mode: "io_mkdir" "mode" optional;
    io_mkdir_name: "io_mkdir" "filename" optional;
    io_link_old_dfd: "io_link" "old_dfd" optional;
    io_link_new_dfd: "io_link" "new_dfd" optional;
    io_link_old: "io_link" "oldpath" optional;
    io_link_new: "io_link" "newpath" optional;
    io_link_flags: "io_link" "flags" optional;
    io_connect_addr: "io_connect" "addr" optional;
    io_connect_len: "io_connect" "addr_len" optional;
    io_close_fd: "io_close" "fd" optional;
    io_ftrunc_len: "io_ftrunc" "len" optional;
    io_xattr_name: "io_xattr" "filename" optional;
    io_xattr_kname: "io_xattr" "ctx.kname" optional;
}
