//! A process that exceeds the guard's limit, and other processes of its session that
//! wait for its end to act, each in another way.
//!
//! `stimulus condemned DIRECTORY TREE PORT`: one process removes the files of TREE;
//! the others act in DIRECTORY, and on the TCP port of the loopback interface. The
//! end of the removing process wakes them, so that they act after the limit was met.

use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use agent_recorder_tests::stimuli::{Argument, c_path, sockaddr_in, syscall};
use anyhow::{Context as _, ensure};

const CWD: i64 = libc::AT_FDCWD as i64;
/// Harmless, because it is ignored by default (signal(7)).
const SIGNAL: i64 = libc::SIGWINCH as i64;

/// A system call.
type Act = (i64, [i64; 6]);

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let [directory, tree, port] = words else {
        anyhow::bail!("stimulus condemned DIRECTORY TREE PORT");
    };
    let port = port.to_str().context("a port")?.parse()?;
    let files = paths_of(Path::new(tree))?;
    let acts = acts(Path::new(directory), port)?;
    let (wakes, ends) = rustix::pipe::pipe()?;
    let mut children = Vec::new();
    for act in acts {
        children.push(fork(|| wait_and_act(&wakes, ends.as_raw_fd(), act))?);
    }
    children.push(fork(|| remove(&files))?);
    drop(ends);
    for child in children {
        // SAFETY: the child is this process's; its status is not asked for.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    }
    Ok(())
}

fn paths_of(tree: &Path) -> anyhow::Result<Vec<CString>> {
    std::fs::read_dir(tree)?
        .map(|entry| Ok(CString::new(entry?.path().as_os_str().as_bytes())?))
        .collect()
}

fn remove(files: &[CString]) {
    for file in files {
        // SAFETY: the path ends with a NUL.
        unsafe { libc::unlink(file.as_ptr()) };
    }
}

/// Waits for the end of the removing process, which closes the last write end, and acts.
fn wait_and_act(wakes: &OwnedFd, ends: i32, (number, arguments): Act) {
    let mut byte = 0_u8;
    // SAFETY: the descriptors are open, and the buffer has room for one byte.
    unsafe {
        libc::close(ends);
        libc::read(wakes.as_raw_fd(), (&raw mut byte).cast(), 1);
    }
    let _ = syscall(number, arguments);
}

fn fork(work: impl FnOnce()) -> anyhow::Result<i32> {
    // SAFETY: the process has one thread, and the work is async-signal-safe.
    let child = unsafe { libc::fork() };
    if child == 0 {
        work();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    ensure!(child > 0, "fork: {}", std::io::Error::last_os_error());
    Ok(child)
}

/// A descriptor that lives as long as the process.
fn opened(number: i64, arguments: [i64; 6]) -> anyhow::Result<i64> {
    syscall(number, arguments).map_err(|errno| anyhow::anyhow!("call {number}: {errno}"))
}

/// The acts, each with its descriptors and paths ready.
fn acts(directory: &Path, port: u16) -> anyhow::Result<Vec<Act>> {
    let path = |name: &str| c_path(directory.join(name)).as_ptr() as i64;
    for name in ["moved", "linked", "changed", "cut", "marked", "kept"] {
        std::fs::write(directory.join(name), b"kept")?;
    }
    let writes = i64::from(libc::O_CREAT | libc::O_RDWR);
    let held = opened(libc::SYS_open, [path("kept"), writes, 0o600, 0, 0, 0])?;
    let socket = |kind: i32| {
        let kind = i64::from(kind);
        opened(libc::SYS_socket, [libc::AF_INET.into(), kind, 0, 0, 0, 0])
    };
    let peer = sockaddr_in(format!("127.0.0.1:{port}").parse()?).as_ptr() as i64;
    let any = sockaddr_in("127.0.0.1:0".parse()?).as_ptr() as i64;
    let (name, byte) = (path_of("user.agent"), Argument::new(b"x").as_ptr() as i64);
    let argv = [path_of("/bin/sh"), 0];
    let argv = Argument::new(&argv.map(i64::to_ne_bytes).concat()).as_ptr() as i64;
    let outside = i64::from(std::os::unix::process::parent_id());
    Ok(vec![
        (libc::SYS_open, [path("opened"), writes, 0o600, 0, 0, 0]),
        (libc::SYS_mkdir, [path("made"), 0o700, 0, 0, 0, 0]),
        (libc::SYS_rename, [path("moved"), path("away"), 0, 0, 0, 0]),
        (libc::SYS_link, [path("linked"), path("second"), 0, 0, 0, 0]),
        (
            libc::SYS_symlinkat,
            [path("kept"), CWD, path("soft"), 0, 0, 0],
        ),
        (libc::SYS_chmod, [path("changed"), 0o777, 0, 0, 0, 0]),
        (libc::SYS_truncate, [path("cut"), 1, 0, 0, 0, 0]),
        (libc::SYS_ftruncate, [held, 1, 0, 0, 0, 0]),
        (libc::SYS_setxattr, [path("marked"), name, byte, 1, 0, 0]),
        (
            libc::SYS_connect,
            [socket(libc::SOCK_STREAM)?, peer, 16, 0, 0, 0],
        ),
        (
            libc::SYS_bind,
            [socket(libc::SOCK_STREAM)?, any, 16, 0, 0, 0],
        ),
        (
            libc::SYS_listen,
            [socket(libc::SOCK_STREAM)?, 1, 0, 0, 0, 0],
        ),
        (
            libc::SYS_sendto,
            [socket(libc::SOCK_DGRAM)?, byte, 1, 0, peer, 16],
        ),
        (libc::SYS_execve, [path_of("/bin/sh"), argv, 0, 0, 0, 0]),
        (libc::SYS_kill, [outside, SIGNAL, 0, 0, 0, 0]),
        (
            libc::SYS_ptrace,
            [libc::PTRACE_SEIZE.into(), outside, 0, 0, 0, 0],
        ),
        (
            libc::SYS_mount,
            [path_of("none"), path("."), path_of("tmpfs"), 0, 0, 0],
        ),
    ])
}

fn path_of(text: &str) -> i64 {
    c_path(text).as_ptr() as i64
}
