//! Entry points on security hooks, each with two programs: a BPF LSM program, and one on the kernel
//! function that calls the hook (`security_…`), which observes (fentry) or also decides (user space
//! loads it as fmod_ret). Both have the same arguments and call the same function.
//!
//! Not here: tracepoints (`tracepoints`), and programs that ask whether hooks are called
//! (`self_test`).

use core::ffi::c_void;

use agent_recorder_abi::event::{NetOp, Op};
use aya_ebpf::macros::lsm;
use aya_ebpf::programs::{FEntryContext, LsmContext};

use crate::guard::{enforce, irreversible, self_protection};
use crate::kernel::preempt_guard;
use crate::kernel::read::{offset, read};
use crate::kernel::types::{Dentry, File, KernelPath, Mount, OtherTask, Socket};
use crate::operations::{file_hook, socket_hook};

/// Defines both programs of a hook. The doc line has the kernel's prototype and the oldest kernel
/// with it; the types of its objects stand beside their positions. 5.7 is the first kernel with BPF
/// LSM.
macro_rules! hook {
    ($(#[$doc:meta])* $name:ident, $hook:literal, $of_function:ident, $function:literal, ($($arg:ident: $position:literal $(as $type:ident)?),*) $body:expr) => {
        on_hook! { $(#[$doc])* $name, $hook, ($($arg: $position $(as $type)?),*) $body }
        on_function! { $(#[$doc])* $of_function, $function, ($($arg: $position $(as $type)?),*) $body }
    };
}

/// Defines the LSM program.
macro_rules! on_hook {
    ($(#[$doc:meta])* $name:ident, $hook:literal, ($($arg:ident: $position:literal $(as $type:ident)?),*) $body:expr) => {
        $(#[$doc])*
        #[lsm(hook = $hook)]
        fn $name(ctx: LsmContext) -> i32 {
            let _ = &ctx;
            $(let $arg = ctx.arg($position); $(let $arg = $type::at($arg);)?)*
            $body
        }
    };
}

/// Defines the program on the function, which the kernel skips while a preempted task is in it.
macro_rules! on_function {
    ($(#[$doc:meta])* $of_function:ident, $function:literal, ($($arg:ident: $position:literal $(as $type:ident)?),*) $body:expr) => {
        // By hand: a program of aya's macro returns 0, whatever its body does. Here the result
        // decides, where user space loads it as fmod_ret.
        $(#[$doc])*
        #[unsafe(no_mangle)]
        #[unsafe(link_section = concat!("fentry/", $function))]
        extern "C" fn $of_function(ctx: *mut c_void) -> i32 {
            let ctx = FEntryContext::new(ctx);
            let _ = &ctx;
            preempt_guard::begin();
            $(let $arg = ctx.arg($position); $(let $arg = $type::at($arg);)?)*
            let answer = $body;
            preempt_guard::end();
            answer
        }
    };
}

hook! {
    /// `int path_unlink(const struct path *dir, struct dentry *dentry)`, 5.7.
    path_unlink, "path_unlink", security_path_unlink, "security_path_unlink",
    (directory: 0, name: 1 as Dentry) file_hook::removing(Op::Delete, KernelPath::within(directory, name))
}

hook! {
    /// `int path_rmdir(const struct path *dir, struct dentry *dentry)`, 5.7.
    path_rmdir, "path_rmdir", security_path_rmdir, "security_path_rmdir",
    (directory: 0, name: 1 as Dentry) file_hook::removing(Op::Rmdir, KernelPath::within(directory, name))
}

hook! {
    /// `int path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode)`, 5.7.
    path_mkdir, "path_mkdir", security_path_mkdir, "security_path_mkdir",
    (directory: 0, name: 1 as Dentry) file_hook::made(Op::Mkdir, KernelPath::within(directory, name))
}

hook! {
    /// `int path_mknod(const struct path *dir, struct dentry *dentry, umode_t mode, unsigned int dev)`, 5.7.
    path_mknod, "path_mknod", security_path_mknod, "security_path_mknod",
    (directory: 0, name: 1 as Dentry, mode: 2) file_hook::making(directory, name, mode)
}

hook! {
    /// `int path_symlink(const struct path *dir, struct dentry *dentry, const char *old_name)`, 5.7.
    path_symlink, "path_symlink", security_path_symlink, "security_path_symlink",
    (directory: 0, name: 1 as Dentry) file_hook::made(Op::Symlink, KernelPath::within(directory, name))
}

hook! {
    /// `int path_link(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)`, 5.7.
    ///
    /// A hard link stays on one mount.
    path_link, "path_link", security_path_link, "security_path_link",
    (old: 0 as Dentry, directory: 1, name: 2 as Dentry)
        file_hook::moving(Op::Link, KernelPath::within(directory, old), KernelPath::within(directory, name), false)
}

// Before 5.19 the hook lacks the flags and is called twice for RENAME_EXCHANGE, so it counts no
// replaced file. The function has the flags.
#[cfg(feature = "old-kernel")]
on_hook! {
    /// `int path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)`, 5.7 to 5.18.
    path_rename, "path_rename", (old_directory: 0, old: 1 as Dentry, new_directory: 2, new: 3 as Dentry)
        file_hook::moving(Op::Rename, KernelPath::within(old_directory, old), KernelPath::within(new_directory, new), false)
}

#[cfg(feature = "old-kernel")]
on_function! {
    /// `int security_path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry, unsigned int flags)`, 5.7 to 5.18.
    security_path_rename, "security_path_rename",
    (old_directory: 0, old: 1 as Dentry, new_directory: 2, new: 3 as Dentry, flags: 4)
        file_hook::moving(
            Op::Rename,
            KernelPath::within(old_directory, old),
            KernelPath::within(new_directory, new),
            replaces(flags),
        )
}

#[cfg(not(feature = "old-kernel"))]
hook! {
    /// `int path_rename(const struct path *old_dir, struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry, unsigned int flags)`, 5.19.
    path_rename, "path_rename", security_path_rename, "security_path_rename",
    (old_directory: 0, old: 1 as Dentry, new_directory: 2, new: 3 as Dentry, flags: 4)
        file_hook::moving(
            Op::Rename,
            KernelPath::within(old_directory, old),
            KernelPath::within(new_directory, new),
            replaces(flags),
        )
}

/// Whether rename(2) replaces its target: RENAME_EXCHANGE does not.
#[inline(always)]
fn replaces(flags: u32) -> bool {
    flags & 2 == 0
}

hook! {
    /// `int path_chmod(const struct path *path, umode_t mode)`, 5.7.
    path_chmod, "path_chmod", security_path_chmod, "security_path_chmod",
    (object: 0) file_hook::changing(Op::Chmod, KernelPath::at(object))
}

hook! {
    /// `int path_chown(const struct path *path, kuid_t uid, kgid_t gid)`, 5.7.
    path_chown, "path_chown", security_path_chown, "security_path_chown",
    (object: 0) file_hook::changing(Op::Chown, KernelPath::at(object))
}

hook! {
    /// `int path_truncate(const struct path *path)`, 5.7.
    path_truncate, "path_truncate", security_path_truncate, "security_path_truncate",
    (object: 0) file_hook::cutting(KernelPath::at(object))
}

hook! {
    /// `int sb_mount(const char *dev_name, const struct path *path, const char *type, unsigned long flags, void *data)`, 5.7.
    sb_mount, "sb_mount", security_sb_mount, "security_sb_mount",
    (at: 1) file_hook::mounting(Op::Mount, KernelPath::at(at))
}

hook! {
    /// `int sb_umount(struct vfsmount *mnt, int flags)`, 5.7.
    sb_umount, "sb_umount", security_sb_umount, "security_sb_umount",
    (mount: 0 as Mount) file_hook::mounting(Op::Umount, KernelPath::root_of(mount))
}

hook! {
    /// `int move_mount(const struct path *from_path, const struct path *to_path)`, 5.7.
    move_mount, "move_mount", security_move_mount, "security_move_mount",
    (to: 1) file_hook::mounting(Op::Mount, KernelPath::at(to))
}

hook! {
    /// `int file_truncate(struct file *file)`, 6.2.
    ///
    /// The hook of ftruncate(2), which passes path_truncate before 6.2.
    file_truncate, "file_truncate", security_file_truncate, "security_file_truncate",
    (file: 0 as File) file_hook::cutting(file.path())
}

hook! {
    /// `int file_open(struct file *file)`, 5.7.
    file_open, "file_open", security_file_open, "security_file_open",
    (file: 0 as File) irreversible::opening(file)
}

hook! {
    /// `int bprm_check_security(struct linux_binprm *bprm)`, 5.7.
    /// `int security_bprm_check(struct linux_binprm *bprm)`, 5.7.
    bprm_check_security, "bprm_check_security", security_bprm_check, "security_bprm_check",
    (program: 0) file_hook::starting(read::<File>(program, offset!(binprm_file)).path())
}

hook! {
    /// `int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)`, 5.7.
    socket_connect, "socket_connect", security_socket_connect, "security_socket_connect",
    (socket: 0 as Socket, address: 1, length: 2) socket_hook::addressed(NetOp::Connect, socket, address, length)
}

hook! {
    /// `int socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)`, 5.7.
    socket_bind, "socket_bind", security_socket_bind, "security_socket_bind",
    (socket: 0 as Socket, address: 1, length: 2) socket_hook::addressed(NetOp::Bind, socket, address, length)
}

hook! {
    /// `int socket_listen(struct socket *sock, int backlog)`, 5.7.
    socket_listen, "socket_listen", security_socket_listen, "security_socket_listen",
    () enforce::verdict()
}

hook! {
    /// `int socket_accept(struct socket *sock, struct socket *newsock)`, 5.7.
    socket_accept, "socket_accept", security_socket_accept, "security_socket_accept",
    () enforce::verdict()
}

hook! {
    /// `int socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)`, 5.7.
    socket_sendmsg, "socket_sendmsg", security_socket_sendmsg, "security_socket_sendmsg",
    (socket: 0 as Socket, message: 1) socket_hook::sending(socket, message)
}

hook! {
    /// `int file_ioctl(struct file *file, unsigned int cmd, unsigned long arg)`, 5.7.
    file_ioctl, "file_ioctl", security_file_ioctl, "security_file_ioctl",
    (file: 0 as File, command: 1) irreversible::commanding(file, command)
}

hook! {
    /// `int file_ioctl_compat(struct file *file, unsigned int cmd, unsigned long arg)`, 6.8.
    ///
    /// The hook of 32-bit callers, who pass file_ioctl without it. Some stable kernels before 6.8
    /// have it.
    file_ioctl_compat, "file_ioctl_compat", security_file_ioctl_compat, "security_file_ioctl_compat",
    (file: 0 as File, command: 1) irreversible::commanding(file, command)
}

hook! {
    /// `int inode_setxattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name, const void *value, size_t size, int flags)`, 6.3.
    /// `int inode_setxattr(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name, const void *value, size_t size, int flags)`, 5.12 to 6.2.
    /// `int inode_setxattr(struct dentry *dentry, const char *name, const void *value, size_t size, int flags)`, 5.7 to 5.11.
    inode_setxattr, "inode_setxattr", security_inode_setxattr, "security_inode_setxattr",
    (first: 0, second: 1, third: 2) file_hook::attribute(first, second, third)
}

hook! {
    /// `int inode_removexattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name)`, 6.3.
    /// `int inode_removexattr(struct user_namespace *mnt_userns, struct dentry *dentry, const char *name)`, 5.12 to 6.2.
    /// `int inode_removexattr(struct dentry *dentry, const char *name)`, 5.7 to 5.11.
    inode_removexattr, "inode_removexattr", security_inode_removexattr, "security_inode_removexattr",
    (first: 0, second: 1, third: 2) file_hook::attribute(first, second, third)
}

hook! {
    /// `int ptrace_access_check(struct task_struct *child, unsigned int mode)`, 5.7.
    ptrace_access_check, "ptrace_access_check", security_ptrace_access_check, "security_ptrace_access_check",
    (child: 0 as OtherTask, mode: 1) self_protection::attaching(child, mode)
}

hook! {
    /// `int task_kill(struct task_struct *p, struct kernel_siginfo *info, int sig, const struct cred *cred)`, 5.7.
    task_kill, "task_kill", security_task_kill, "security_task_kill",
    (target: 0 as OtherTask, signal: 2) self_protection::signalling(target, signal)
}

hook! {
    /// `int task_setrlimit(struct task_struct *p, unsigned int resource, struct rlimit *new_rlim)`, 5.7.
    task_setrlimit, "task_setrlimit", security_task_setrlimit, "security_task_setrlimit",
    (target: 0 as OtherTask) self_protection::limiting(target)
}

hook! {
    /// `int inode_file_setattr(struct dentry *dentry, struct file_kattr *fa)`, 6.17.
    ///
    /// The hook of file_setattr(2), which is as old, and of ioctl(2), which also passes file_ioctl.
    inode_file_setattr, "inode_file_setattr", security_inode_file_setattr, "security_inode_file_setattr",
    (dentry: 0 as Dentry) self_protection::changing(dentry)
}

hook! {
    /// `int bpf(int cmd, union bpf_attr *attr, unsigned int size, bool kernel)`, 6.15.
    /// `int bpf(int cmd, union bpf_attr *attr, unsigned int size)`, 5.7 to 6.14.
    bpf, "bpf", security_bpf, "security_bpf",
    (command: 0, arguments: 1) self_protection::calling_bpf(command, arguments)
}
