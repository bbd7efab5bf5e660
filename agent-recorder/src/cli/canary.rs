//! `canary`: does one of each act that the kernel programs see. The recorder starts
//! this process and observes it (`daemon::self_check`); it is of no other use.
//!
//! It prints the kernel's answers to acts that harm the recorder.
//! Not here: the recorder's conclusions.

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

/// The act of a process of the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// Waits until it is tagged, then starts this program again.
    Wait,
    /// Does all acts.
    Act,
    /// Does nothing.
    End,
}

/// Runs a stage. If an act fails that is always possible, the canary fails and shows
/// nothing.
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
                // The recorder has ended, and no other process removes the directory.
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

/// A command that runs this program with the same arguments and another stage.
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
    // The canary removes it even if its recorder has ended meanwhile.
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
    // Some file systems lack extended attributes; the hook runs before that shows.
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

/// The line for an act that could not be done, so that the recorder does not expect
/// its finding.
fn without(what: &str) -> String {
    format!("{WITHOUT}{what}\n")
}

/// Acts through io_uring; `None` where that is not allowed.
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
        // SAFETY: `name` lives until the request is complete, because
        // `submit_and_wait` follows; the process's end closes the descriptor that the
        // request opens.
        unsafe { ring.submission().push(&entry) }.ok()?;
        ring.submit_and_wait(1).ok()?;
        ring.completion().for_each(drop);
    }
    Some(())
}

/// Mounts in a namespace of its own.
fn mounts(at: &Path) -> rustix::io::Result<()> {
    // SAFETY: this process has one thread, so no other thread shares the namespace.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private)?;
    rustix::mount::mount("none", at, "tmpfs", MountFlags::empty(), None)?;
    rustix::mount::unmount(at, UnmountFlags::empty())
}

/// Acts that a refusing recorder refuses, and that harm no recorder.
fn reaches(args: &Args) -> Vec<(&'static str, io::Result<()>)> {
    let mut reaches = Vec::new();
    if let Some(recorder) = getppid() {
        // The recorder ignores the signal, if it arrives.
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

/// Reads another process's memory at an unmapped address: the permission check comes
/// first.
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
    // SAFETY: `here` describes one writable local byte, and the kernel checks the
    // address in `there`, which belongs to the other process.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    if read < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
