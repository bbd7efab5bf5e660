//! Removes files by ways whose path hides the file's place: through mounts, other
//! roots, procfs. For each it reports the inode that it had open before, and the one
//! true path.
//!
//! The true path begins at the root of the mount namespace of the removal, and leads
//! through the mounts that the removal passed. For a chroot or procfs it is the path
//! of the target; for a bind mount or an overlay, the name below it, and not the
//! file's name elsewhere.
//!
//! The device is that of the file system, as proc_pid_mountinfo(5) has it: on
//! btrfs, each subvolume shows one of its own in stat(2).
//!
//! `stimulus ways DIRECTORY` leaves its mounts to the end of its own mount namespace;
//! `stimulus ways DIRECTORY plain` removes by plain paths only.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use agent_recorder_tests::stimuli::{Script, Who, outcome};
use anyhow::{Context as _, ensure};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags};
use serde_json::json;

/// Files that go each way.
const FILES: usize = 8;

struct Ways {
    root: PathBuf,
    script: Script,
}

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let root = words.first().context("stimulus ways DIRECTORY")?;
    let mut ways = Ways {
        root: root.into(),
        script: Script::default(),
    };
    if words.len() > 1 {
        let directory = ways.directory("plain")?;
        ways.remove(&directory, &directory)?;
        return Ok(ways.script.tell()?);
    }
    ways.by_procfs()?;
    ways.in_a_chroot()?;
    ways.own_namespace()?;
    ways.mounted_there_only()?;
    ways.bound()?;
    ways.overlaid()?;
    ways.attached_nowhere()?;
    ways.under_a_pivoted_root()?;
    Ok(ways.script.tell()?)
}

/// The file system's device, and `st_ino`.
type Identity = (u64, u64);

fn identity(path: &Path) -> anyhow::Result<Identity> {
    let held = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
    let about = rustix::fs::fstat(&held)?;
    Ok((device_of(&held)?, about.st_ino))
}

/// Device of the file system that is mounted at the file's place.
fn device_of(held: &impl AsFd) -> anyhow::Result<u64> {
    let number = held.as_fd().as_raw_fd();
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{number}"))?;
    let mut lines = about.lines();
    let mount = lines.find_map(|line| line.strip_prefix("mnt_id:"));
    let mount = mount.context("a descriptor without a mount")?.trim();
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    // The mount's number, its parent's, and MAJOR:MINOR.
    let device = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        (words.next() == Some(mount)).then(|| words.nth(1))?
    });
    let device = device.context("a mount that is not listed")?;
    let (major, minor) = device.split_once(':').context("a device without a colon")?;
    Ok(libc::makedev(major.parse()?, minor.parse()?))
}

impl Ways {
    /// A new directory.
    fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let directory = self.root.join(name);
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    /// Makes files in `at`, removes them by their paths in `by`, and reports their paths in `at`.
    fn remove(&mut self, at: &Path, by: &Path) -> anyhow::Result<()> {
        for number in 0..FILES {
            let name = format!("file{number}");
            fs::write(at.join(&name), "")?;
            self.remove_one(&at.join(&name), &by.join(&name))?;
        }
        Ok(())
    }

    fn remove_one(&mut self, at: &Path, by: &Path) -> anyhow::Result<()> {
        let victim = identity(by)?;
        fs::remove_file(by)?;
        self.removed(Who::running(), at, victim)
    }

    fn removed(&mut self, who: Who, at: &Path, (dev, ino): Identity) -> anyhow::Result<()> {
        ensure!(fs::symlink_metadata(at).is_err(), "{at:?} is there still");
        let truth = json!({
            "op": "DELETE",
            "path": at.display().to_string(),
            "dev": dev,
            "ino": ino,
            "pathSource": "KERNEL",
        });
        self.script.did_as(who, "file", truth, Ok(0));
        Ok(())
    }

    /// Through links of procfs, which lead to a directory by no written path.
    fn by_procfs(&mut self) -> anyhow::Result<()> {
        let directory = self.directory("procfs")?;
        let by_root = Path::new("/proc/self/root").join(directory.strip_prefix("/")?);
        self.remove(&directory, &by_root)?;
        let held = fs::File::open(&directory)?;
        let by_fd = format!("/proc/self/fd/{}", held.as_raw_fd());
        self.remove(&directory, Path::new(&by_fd))?;
        std::env::set_current_dir(&directory)?;
        self.remove(&directory, Path::new("/proc/thread-self/cwd"))?;
        Ok(std::env::set_current_dir("/")?)
    }

    /// A child under another root, where the file is `/file`.
    fn in_a_chroot(&mut self) -> anyhow::Result<()> {
        let jail = self.directory("jail")?;
        let (jail_path, name) = (CString::new(jail.as_os_str().as_bytes())?, c"/file");
        for _ in 0..FILES {
            let file = jail.join("file");
            fs::write(&file, "")?;
            let victim = identity(&file)?;
            // SAFETY: the process has one thread; the child calls the kernel and ends.
            let child = unsafe {
                let child = libc::fork();
                if child == 0 {
                    let failed =
                        libc::chroot(jail_path.as_ptr()) != 0 || libc::unlink(name.as_ptr()) != 0;
                    libc::_exit(failed.into());
                }
                child
            };
            // SAFETY: the child is this process's, and the status is not asked for.
            let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            outcome(waited.into()).map_err(anyhow::Error::msg)?;
            self.removed(Who::child(child.unsigned_abs()), &file, victim)?;
        }
        Ok(())
    }

    fn own_namespace(&self) -> anyhow::Result<()> {
        // SAFETY: numbers only; the process has one thread.
        outcome(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNS) }))
            .map_err(anyhow::Error::msg)?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        Ok(rustix::mount::mount_change("/", private)?)
    }

    /// On a file system that the recorder's namespace does not have.
    fn mounted_there_only(&mut self) -> anyhow::Result<()> {
        let private = self.directory("private")?;
        mount_tmpfs(&private)?;
        self.remove(&private, &private)
    }

    /// A directory that is mounted a second time, so that each file has two paths.
    fn bound(&mut self) -> anyhow::Result<()> {
        let (real, bound) = (self.directory("real/deep")?, self.directory("bound")?);
        rustix::mount::mount_bind(self.root.join("real"), &bound)?;
        self.remove(&bound.join("deep"), &bound.join("deep"))?;
        self.remove(&real, &real)?;
        // A mount of its own over the bound one.
        rustix::mount::mount_bind(&real, &real)?;
        self.remove(&real, &real)
    }

    /// One file of the upper layer, one of the lower, and one that was copied up.
    fn overlaid(&mut self) -> anyhow::Result<()> {
        let layers = self.directory("layers")?;
        mount_tmpfs(&layers)?;
        for layer in ["lower", "upper", "work", "merged"] {
            self.directory(&format!("layers/{layer}"))?;
        }
        // Layers of two file systems can have equal inode numbers.
        mount_tmpfs(&layers.join("lower"))?;
        for name in ["lower0", "lower1"] {
            fs::write(layers.join("lower").join(name), "x")?;
        }
        let shown = layers.display();
        let options = format!("lowerdir={shown}/lower,upperdir={shown}/upper,workdir={shown}/work");
        let options = CString::new(options)?;
        let merged = layers.join("merged");
        let mounted = rustix::mount::mount(
            "overlay",
            &merged,
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        );
        if mounted == Err(Errno::NODEV) {
            eprintln!("not covered: overlay, which this kernel has not");
            return Ok(());
        }
        mounted.context("mount an overlay")?;
        self.remove(&merged, &merged)?;
        self.remove_one(&merged.join("lower0"), &merged.join("lower0"))?;
        fs::write(merged.join("lower1"), "y")?;
        self.remove_one(&merged.join("lower1"), &merged.join("lower1"))
    }

    /// Through a mount that was never attached, and through a detached one: the file has
    /// no path from any root, and is shown in the form of getcwd(2).
    fn attached_nowhere(&mut self) -> anyhow::Result<()> {
        let shown = Path::new("(unreachable)/file");
        let (cloned, taken) = (self.directory("cloned")?, self.directory("taken")?);
        mount_tmpfs(&taken)?;
        let file = cloned.join("file");
        fs::write(&file, "")?;
        let victim = identity(&file)?;
        let tree = rustix::mount::open_tree(
            rustix::fs::CWD,
            &cloned,
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC,
        )?;
        rustix::fs::unlinkat(&tree, "file", AtFlags::empty())?;
        ensure!(!file.exists(), "{file:?} is there still");
        self.removed(Who::running(), shown, victim)?;

        fs::write(taken.join("file"), "")?;
        let victim = identity(&taken.join("file"))?;
        let held = fs::File::open(&taken)?;
        rustix::mount::unmount(&taken, UnmountFlags::DETACH)?;
        rustix::fs::unlinkat(&held, "file", AtFlags::empty())?;
        self.removed(Who::running(), shown, victim)
    }

    /// As in a container: the file's path is the one in its namespace.
    fn under_a_pivoted_root(&mut self) -> anyhow::Result<()> {
        let root = self.directory("container")?;
        mount_tmpfs(&root)?;
        let procfs = self.directory("container/proc")?;
        rustix::mount::mount_bind("/proc", &procfs)?;
        std::env::set_current_dir(&root)?;
        match rustix::process::pivot_root(".", ".") {
            // pivot_root(2) refuses the root of an initramfs.
            Err(Errno::INVAL) => {
                rustix::mount::mount_move(".", "/")?;
                rustix::process::chroot(".")?;
            }
            pivoted => {
                pivoted?;
                rustix::mount::unmount(".", UnmountFlags::DETACH)?;
            }
        }
        fs::create_dir("/inner")?;
        self.remove(Path::new("/inner"), Path::new("/inner"))?;
        self.remove_one_at("/inner")
    }

    /// Removes a file by unlinkat(2) from an open directory.
    fn remove_one_at(&mut self, directory: &str) -> anyhow::Result<()> {
        let file = Path::new(directory).join("file");
        fs::write(&file, "")?;
        let victim = identity(&file)?;
        let held = fs::File::open(directory)?;
        rustix::fs::unlinkat(&held, "file", AtFlags::empty())?;
        self.removed(Who::running(), &file, victim)
    }
}

fn mount_tmpfs(at: &Path) -> anyhow::Result<()> {
    let mounted = rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), c"");
    mounted.with_context(|| format!("mount a tmpfs on {}", at.display()))
}
