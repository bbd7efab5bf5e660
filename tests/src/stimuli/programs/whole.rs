//! Destroys as much as any limit allows by one call, or prepares for that: `make
//! DIRECTORY NAME` and `delete DIRECTORY NAME` a btrfs subvolume, `open DEVICE` for
//! writing, `discard` the device on standard input. It ends with the errno of a
//! refused call.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd as _, RawFd};
use std::process::ExitCode;

use anyhow::{Context as _, bail, ensure};

/// `BTRFS_IOC_SUBVOL_CREATE`, `BTRFS_IOC_SNAP_DESTROY` (include/uapi/linux/btrfs.h).
const CREATE: u64 = 0x5000_940e;
const DESTROY: u64 = 0x5000_940f;
/// `struct btrfs_ioctl_vol_args`: a descriptor, a name.
const ARGUMENTS: usize = 4096;
const NAME: usize = 8;
/// `BLKDISCARD` (include/uapi/linux/fs.h): a start and a length.
const DISCARD: u64 = 0x1277;

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words: Vec<&str> = words.iter().filter_map(|word| word.to_str()).collect();
    let done = match words[..] {
        ["make", directory, name] => subvolume(CREATE, directory, name)?,
        ["subvolume", directory, name] => subvolume(DESTROY, directory, name)?,
        ["open", device] => OpenOptions::new().write(true).open(device).map(drop),
        ["discard"] => {
            let mut range = [0_u64, 64 << 10];
            command(0, DISCARD, (&raw mut range).cast())
        }
        _ => bail!("make|delete DIRECTORY NAME, open DEVICE, discard"),
    };
    let Err(error) = done else {
        return Ok(ExitCode::SUCCESS);
    };
    let errno = error.raw_os_error().context("no errno")?;
    Ok(ExitCode::from(u8::try_from(errno)?))
}

fn subvolume(action: u64, directory: &str, name: &str) -> anyhow::Result<std::io::Result<()>> {
    ensure!(name.len() < ARGUMENTS - NAME, "a shorter name");
    let mut arguments = [0_u8; ARGUMENTS];
    arguments[NAME..NAME + name.len()].copy_from_slice(name.as_bytes());
    let directory = File::open(directory)?;
    Ok(command(
        directory.as_raw_fd(),
        action,
        arguments.as_mut_ptr().cast(),
    ))
}

fn command(fd: RawFd, request: u64, argument: *mut libc::c_void) -> std::io::Result<()> {
    // SAFETY: each command reads at most the size of its argument.
    let result = unsafe { libc::ioctl(fd, request as _, argument) };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
