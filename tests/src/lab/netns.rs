//! A network namespace with nothing but loopback.
//!
//! Needs CAP_SYS_ADMIN. The namespace goes when its last process goes; no
//! name and no mount is left behind.

use std::fs::{self, File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::{io, mem, thread};

use anyhow::{Context, anyhow};
use rustix::net::{AddressFamily, SocketType, socket};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// Moves the calling thread into a new network namespace and brings its
/// loopback up.
pub fn isolate() -> anyhow::Result<()> {
    // SAFETY: NEWNET alone changes no memory and no file descriptor of this
    // process; existing sockets keep their namespace.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
        .context("make a network namespace (needs root)")?;
    loopback_up().context("bring loopback up")
}

/// Starts a command in the network namespace of the process `pid`.
pub fn spawn(pid: u32, command: &mut Command) -> anyhow::Result<Child> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).with_context(|| format!("open {path}"))?;
    let start = || {
        let kind = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(namespace.as_fd(), kind)
            .with_context(|| format!("enter {path}"))?;
        let program = command.get_program().to_owned();
        command
            .spawn()
            .with_context(|| format!("start {program:?}"))
    };
    // The thread ends in the namespace, and the caller stays in its own.
    thread::scope(|scope| {
        let thread = scope.spawn(start);
        thread
            .join()
            .map_err(|_| anyhow!("the starting thread panicked"))?
    })
}

/// netdevice(7): reads the flags of `lo`, adds IFF_UP.
fn loopback_up() -> io::Result<()> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    let mut request = interface_request(b"lo");
    interface_ioctl(&any, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has just filled this member of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    interface_ioctl(&any, libc::SIOCSIFFLAGS, &mut request)
}

/// A new TUN device in this namespace, which lives as long as the returned file: each
/// read or write is one IP packet and never blocks (Documentation/networking/tuntap.rst).
pub(crate) fn tun(name: &str) -> io::Result<File> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut request = interface_request(name.as_bytes());
    // Writing a member of a union is safe; both flags fit.
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    interface_ioctl(&device, libc::TUNSETIFF, &mut request)?;
    Ok(device)
}

fn interface_request(name: &[u8]) -> libc::ifreq {
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request
}

fn interface_ioctl(
    socket: &impl AsRawFd,
    operation: libc::Ioctl,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: each of these operations takes a pointer to one `ifreq`, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), operation, request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Every process in the network namespace of the process `pid`.
pub fn members(pid: u32) -> anyhow::Result<Vec<u32>> {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net"));
    let wanted = namespace(pid).with_context(|| format!("read the namespace of {pid}"))?;
    let mut members = Vec::new();
    for entry in fs::read_dir("/proc").context("list /proc")? {
        let name = entry?.file_name();
        let Some(other) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that has ended meanwhile, or is a zombie, has no namespace.
        if namespace(other).is_ok_and(|found| found == wanted) {
            members.push(other);
        }
    }
    Ok(members)
}
