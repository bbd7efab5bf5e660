//! File systems for one test: each is mounted in a mount namespace that ends with the test.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, anyhow, bail, ensure};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Names a folder with an image of each file system of `IMAGES`. Without it they are made.
const VARIABLE: &str = "AGENT_RECORDER_IMAGES";

/// File systems with an image: name, size in bytes, maker.
const IMAGES: [(&str, u64, &[&str]); 2] = [
    ("ext4", 16 << 20, &["mke2fs", "-q", "-F", "-t", "ext4"]),
    ("btrfs", 32 << 20, &["mkfs.btrfs", "-q", "--mixed"]),
];

/// A directory on a file system of its own.
#[derive(Debug)]
pub struct Mounted {
    /// The file system's name.
    pub kind: &'static str,
    /// Its root.
    pub directory: PathBuf,
    /// The file system of its layers, unmounted after it.
    below: Option<Box<Self>>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A failed unmount is undone by the end of the namespace.
        let _ = rustix::mount::unmount(&self.directory, UnmountFlags::DETACH);
        drop(self.below.take());
    }
}

/// Calls `work` in a thread with a mount namespace of its own. Its mounts are invisible outside.
///
/// # Errors
///
/// Those of `work`, or the kernel makes no namespace.
pub fn in_own_namespace<T: Send>(
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let thread = || {
        // SAFETY: the argument is a number, and the thread uses its new namespace
        // alone from here on.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWNS) };
        ensure!(
            unshared == 0,
            "make a mount namespace: {}",
            std::io::Error::last_os_error()
        );
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).context("keep mounts from other namespaces")?;
        work()
    };
    thread::scope(|scope| scope.spawn(thread).join())
        .map_err(|_| anyhow!("the thread in a namespace of its own panicked"))?
}

/// A new tmpfs.
///
/// # Errors
///
/// The directory cannot be made, or the mount fails.
pub fn tmpfs(directory: &Path) -> anyhow::Result<Mounted> {
    tmpfs_with(directory, c"mode=755")
}

/// A new tmpfs with a size of `bytes`.
///
/// # Errors
///
/// See [`tmpfs`].
pub fn small_tmpfs(directory: &Path, bytes: u64) -> anyhow::Result<Mounted> {
    tmpfs_with(directory, &CString::new(format!("mode=755,size={bytes}"))?)
}

/// A new tmpfs with these options (tmpfs(5)).
///
/// # Errors
///
/// See [`tmpfs`].
pub fn tmpfs_with(directory: &Path, options: &CStr) -> anyhow::Result<Mounted> {
    fs::create_dir_all(directory)?;
    rustix::mount::mount("tmpfs", directory, "tmpfs", MountFlags::empty(), options)
        .with_context(|| format!("mount a tmpfs on {}", directory.display()))?;
    Ok(Mounted {
        kind: "tmpfs",
        directory: directory.to_owned(),
        below: None,
    })
}

/// A new bpffs, where kernel programs are pinned.
///
/// # Errors
///
/// See [`tmpfs`].
pub fn bpffs(directory: &Path) -> anyhow::Result<Mounted> {
    fs::create_dir_all(directory)?;
    rustix::mount::mount("bpf", directory, "bpf", MountFlags::empty(), c"mode=700")
        .with_context(|| format!("mount a bpffs on {}", directory.display()))?;
    Ok(Mounted {
        kind: "bpf",
        directory: directory.to_owned(),
        below: None,
    })
}

/// A new overlay, with all its layers on one new tmpfs.
fn overlay(layers: &Path) -> anyhow::Result<Mounted> {
    let below = tmpfs(layers)?;
    let folder = |name: &str| {
        let folder = layers.join(name);
        fs::create_dir_all(&folder).map(|()| folder)
    };
    let (lower, upper, work) = (folder("lower")?, folder("upper")?, folder("work")?);
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let (merged, options) = (folder("merged")?, CString::new(options)?);
    let flags = MountFlags::empty();
    rustix::mount::mount("overlay", &merged, "overlay", flags, options.as_c_str())
        .with_context(|| format!("mount an overlay on {}", merged.display()))?;
    Ok(Mounted {
        kind: "overlay",
        directory: merged,
        below: Some(Box::new(below)),
    })
}

/// A file system's name, and why it is not here.
type Absent = (&'static str, String);

const NONE: &str = "this kernel has no such file system";

/// Mounts each of tmpfs, overlay, ext4 and btrfs that this kernel has, in folders of
/// `scratch`. Returns the reason for each absent one.
///
/// # Errors
///
/// A mount fails, though the kernel has the file system.
pub fn all(scratch: &Path) -> anyhow::Result<(Vec<Mounted>, Vec<Absent>)> {
    let mut absent = Vec::new();
    let mut mounted = vec![tmpfs(&scratch.join("tmpfs"))?];
    if known("overlay")? {
        mounted.push(overlay(&scratch.join("layers"))?);
    } else {
        absent.push(("overlay", NONE.to_owned()));
    }
    for (kind, bytes, maker) in IMAGES {
        match from_image(scratch, kind, bytes, maker)? {
            Ok(found) => mounted.push(found),
            Err(why) => absent.push((kind, why)),
        }
    }
    Ok((mounted, absent))
}

/// A btrfs, in a folder of `scratch`; or why there is none.
///
/// # Errors
///
/// See [`all`].
pub fn btrfs(scratch: &Path) -> anyhow::Result<Result<Mounted, String>> {
    let (kind, bytes, maker) = IMAGES[1];
    from_image(scratch, kind, bytes, maker)
}

fn known(kind: &str) -> anyhow::Result<bool> {
    let known = fs::read_to_string("/proc/filesystems")?;
    Ok(known
        .lines()
        .any(|line| line.split_whitespace().last() == Some(kind)))
}

fn from_image(
    scratch: &Path,
    kind: &'static str,
    bytes: u64,
    maker: &[&str],
) -> anyhow::Result<Result<Mounted, String>> {
    if !known(kind)? {
        return Ok(Err(NONE.to_owned()));
    }
    let folder = std::env::var_os(VARIABLE).map(PathBuf::from);
    let image = match &folder {
        Some(folder) => folder.join(kind),
        None => match make(scratch, kind, bytes, maker)? {
            Ok(image) => image,
            Err(why) => return Ok(Err(why)),
        },
    };
    let directory = scratch.join(kind);
    fs::create_dir_all(&directory)?;
    let mount = Command::new("mount")
        .args(["-t", kind, "-o", "loop"])
        .args([&image, &directory])
        .output()
        .context("run mount")?;
    if !mount.status.success() {
        let why = String::from_utf8_lossy(&mount.stderr).trim().to_owned();
        if folder.is_some() {
            bail!("mount {}: {why}", image.display());
        }
        return Ok(Err(why));
    }
    Ok(Ok(Mounted {
        kind,
        directory,
        below: None,
    }))
}

fn make(
    scratch: &Path,
    kind: &str,
    bytes: u64,
    maker: &[&str],
) -> anyhow::Result<Result<PathBuf, String>> {
    let image = scratch.join(format!("{kind}.image"));
    File::create(&image)?.set_len(bytes)?;
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let made = Command::new(maker[0])
        .args(&maker[1..])
        .arg(&image)
        .env("PATH", path)
        .output();
    match made {
        Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
            Ok(Err(format!("no {} here", maker[0])))
        }
        Err(error) => Err(error).context(maker[0].to_owned()),
        Ok(made) if made.status.success() => Ok(Ok(image)),
        Ok(made) => bail!("{}: {}", maker[0], String::from_utf8_lossy(&made.stderr)),
    }
}
