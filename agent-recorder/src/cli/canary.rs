//! `canary`: one of each of the acts that the kernel programs see, by a process
//! that the recorder starts and watches (`daemon::self_check`). For nobody else to call.
//!
//! It says on stdout what the kernel answered where hooks refuse what harms the
//! recorder. Not here: what the recorder makes of it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use io_uring::{IoUring, opcode, types};
use rustix::fs::{XattrFlags, setxattr};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{Pid, Signal, getppid, getuid, kill_process};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::Error;
use super::daemon::LOCK;
use crate::bpf;
use crate::daemon::{BY_URING, WITHOUT};
use crate::record::{errno_name, proto};

/// Arguments of `canary`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An empty directory, which it removes
    directory: PathBuf,
    /// The recorder's state directory
    #[arg(long, value_name = "DIR")]
    own: Option<PathBuf>,
    /// The number of one of the recorder's maps
    #[arg(long, value_name = "ID")]
    map: Option<u32>,
    /// Where it begins
    #[arg(long, value_enum, default_value = "wait", overrides_with = "stage")]
    stage: Stage,
}

/// What a process of the canary does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// Until it is tagged; then it starts itself anew.
    Wait,
    /// Everything.
    Act,
    /// Nothing.
    End,
}

/// Where one of the acts that are always possible fails, it fails, and shows nothing.
pub(super) fn run(args: &Args) -> Result<ExitCode, Error> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| Error::System { what, source }
    };
    match args.stage {
        Stage::Wait => {
            let mut go = [0];
            let told = io::stdin().read_exact(&mut go);
            if told.is_err() {
                // The recorder has ended, and nobody else will.
                let _ = fs::remove_dir(&args.directory);
            }
            told.map_err(failed("wait for the recorder"))?;
            return Err(failed("start anew")(again(Stage::Act).exec()));
        }
        Stage::Act => act(args).map_err(failed("do one of each"))?,
        Stage::End => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// This program with the same arguments.
fn again(stage: Stage) -> Command {
    let name = if stage == Stage::Act { "act" } else { "end" };
    let mut command = Command::new("/proc/self/exe");
    command
        .args(std::env::args_os().skip(1))
        .args(["--stage", name]);
    command
}

fn act(args: &Args) -> io::Result<()> {
    let at = |name: &str| args.directory.join(name);
    again(Stage::End)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    files(&at)?;
    sockets()?;
    let mut said = String::new();
    if requests(&at("request")).is_none() {
        said.push_str(&without(BY_URING));
    }
    if mounts(&args.directory).is_err() {
        said.push_str(&without(proto::FileOp::Mount.as_str_name()));
    }
    for (what, answer) in reaches(args) {
        let name = answer.err().map_or("done", |error| name_of(&error));
        said.push_str(&format!("{what} {name}\n"));
    }
    // Also of a recorder that has ended meanwhile.
    fs::remove_dir(&args.directory)?;
    io::stdout().write_all(said.as_bytes())
}

fn name_of(error: &io::Error) -> &'static str {
    let number = error.raw_os_error().unwrap_or_default();
    errno_name(number.unsigned_abs()).unwrap_or("refused")
}

fn files(at: &impl Fn(&str) -> PathBuf) -> io::Result<()> {
    let (first, second, link) = (at("first"), at("second"), at("link"));
    let mut file = File::create(&first)?;
    file.write_all(b"canary")?;
    file.set_len(3)?;
    drop(file);
    OpenOptions::new().write(true).truncate(true).open(&first)?;
    fs::set_permissions(&first, Permissions::from_mode(0o600))?;
    chown(&first, Some(getuid().as_raw()), None)?;
    // Not every file system has them; the hook comes first.
    let _ = setxattr(&first, "user.canary", b"1", XattrFlags::empty());
    symlink(&first, &link)?;
    fs::hard_link(&first, &second)?;
    fs::remove_file(&second)?;
    fs::rename(&first, &second)?;
    fs::create_dir(&first)?;
    fs::remove_dir(&first)?;
    fs::remove_file(&link)?;
    fs::remove_file(&second)
}

fn sockets() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut here = TcpStream::connect(listener.local_addr()?)?;
    let (mut there, _) = listener.accept()?;
    here.write_all(b"canary")?;
    there.read_exact(&mut [0; 6])?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"canary", socket.local_addr()?)?;
    socket.recv(&mut [0; 6])?;
    Ok(())
}

/// What is not to be looked for, because it could not be done.
fn without(what: &str) -> String {
    format!("{WITHOUT}{what}\n")
}

/// Through io_uring; `None` where that is not allowed.
fn requests(path: &Path) -> Option<()> {
    let mut ring = IoUring::new(2).ok()?;
    let mut name = path.as_os_str().as_bytes().to_vec();
    name.push(0);
    let here = types::Fd(libc::AT_FDCWD);
    let open = opcode::OpenAt::new(here, name.as_ptr().cast())
        .flags(libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC)
        .mode(0o600);
    let unlink = opcode::UnlinkAt::new(here, name.as_ptr().cast());
    for entry in [open.build(), unlink.build()] {
        // SAFETY: the name outlives the request, which is waited for. What it
        // opens is closed at this process's end.
        unsafe { ring.submission().push(&entry) }.ok()?;
        ring.submit_and_wait(1).ok()?;
        ring.completion().for_each(drop);
    }
    Some(())
}

/// In a namespace of its own.
fn mounts(at: &Path) -> rustix::io::Result<()> {
    // SAFETY: a namespace of mounts, in a process of one thread.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    rustix::mount::mount("none", at, "tmpfs", MountFlags::empty(), None)?;
    rustix::mount::unmount(at, UnmountFlags::empty())
}

/// What a recorder that refuses refuses, and what harms none.
fn reaches(args: &Args) -> Vec<(&'static str, io::Result<()>)> {
    let mut reaches = Vec::new();
    if let Some(recorder) = getppid() {
        // It is ignored, where it arrives.
        let signal = kill_process(recorder, Signal::URG);
        reaches.push(("signal", signal.map_err(io::Error::from)));
        reaches.push(("attach", look_into(recorder)));
    }
    if let Some(own) = &args.own {
        let lock = OpenOptions::new().write(true).open(own.join(LOCK));
        reaches.push(("open", lock.map(drop)));
    }
    if let Some(map) = args.map {
        reaches.push(("bpf", bpf::map_by_number(map).map(drop)));
    }
    reaches
}

/// Reads nothing, for there is nothing at that address; but first it is asked whether it may.
fn look_into(process: Pid) -> io::Result<()> {
    let mut byte = 0u8;
    let here = libc::iovec {
        iov_base: (&raw mut byte).cast(),
        iov_len: 1,
    };
    let there = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 1,
    };
    let pid = process.as_raw_nonzero().get();
    // SAFETY: `here` is one byte, and `there` is the other process's.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    if read < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
