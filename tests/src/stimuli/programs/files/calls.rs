//! Rare calls: those of one ABI only, those by file handle, and the newest.

use agent_recorder_tests::stimuli::{Argument, c_path, compat, syscall};
use serde_json::json;

use super::{CWD, Stimulus};

/// setxattrat(2) and removexattrat(2), since 6.13.
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;

/// Calls that only the 32-bit ABI has (arch/x86/entry/syscalls/syscall_32.tbl).
impl Stimulus {
    pub(super) fn compat_only(&mut self) {
        let flags = i64::from(libc::O_CREAT | libc::O_RDWR);
        let opened = self.call(libc::SYS_open, self.path("old"), [flags, 0o600, 0]);
        self.file("CREATE", "old", json!({}), opened.map(|_| 0));
        let path = c_path(self.path("old"));
        let at = i64::from(path.low());
        // Owner and group in 16 bits: 0xffff leaves one as it is.
        let changed = compat(182, [at, 1, 0xffff, 0, 0, 0]);
        self.file("CHOWN", "old", json!({"uid": 1}), changed);
        let changed = compat(16, [at, 0, 0, 0, 0, 0]);
        self.file("CHOWN", "old", json!({"uid": 0, "gid": 0}), changed);
        if let Ok(fd) = opened {
            let changed = compat(95, [fd, 0, 0, 0, 0, 0]);
            self.file("CHOWN", "old", json!({"uid": 0, "gid": 0}), changed);
            // A length of 64 bits in two arguments, low first.
            let cut = compat(194, [fd, 5, 1, 0, 0, 0]);
            self.file("TRUNCATE", "old", json!({"length": (1u64 << 32) + 5}), cut);
        }
        let cut = compat(193, [at, 7, 0, 0, 0, 0]);
        self.file("TRUNCATE", "old", json!({"length": 7}), cut);
        Self::close(opened);
    }
}

/// `BLKDISCARD`, `BLKSECDISCARD`, `BLKZEROOUT` (include/uapi/linux/fs.h).
const DISCARDS: [i64; 3] = [0x1277, 0x127d, 0x127f];
/// `BTRFS_IOC_SNAP_DESTROY`, and its second version (include/uapi/linux/btrfs.h).
const SNAP_DESTROY: i64 = 0x5000_940f;
const SNAP_DESTROY_V2: i64 = 0x5000_943f;
/// `FS_IOC_SETFLAGS`, as 32-bit programs call it, and `FS_IOC_FSSETXATTR` (include/uapi/linux/fs.h).
const SETTING_FLAGS: [i64; 3] = [0x4008_6602, 0x4004_6602, 0x401c_5820];
/// `FS_IOC_GETFLAGS`.
const GETFLAGS: i64 = 0x8008_6601;
/// Size of both versions' arguments, bytes.
const SNAP_ARGUMENTS: usize = 4096;

impl Stimulus {
    /// Destructive ioctl(2) commands on files that have none: each attempt is recorded.
    pub(super) fn commands(&mut self) {
        let opened = self.call(
            libc::SYS_open,
            self.path("by_open"),
            [i64::from(libc::O_WRONLY), 0, 0],
        );
        self.file("OPEN", "by_open", json!({}), opened.map(|_| 0));
        let Ok(fd) = opened else { return };
        let range = [4096_u64, 512].map(u64::to_ne_bytes).concat();
        let range = Argument::new(&range).as_ptr() as i64;
        for command in DISCARDS {
            let discarded = syscall(libc::SYS_ioctl, [fd, command, range, 0, 0, 0]);
            let said = json!({"flags": command, "length": 512});
            self.file("DEVICE", "by_open", said, discarded);
        }
        // FIONREAD destroys nothing.
        let _ = syscall(libc::SYS_ioctl, [fd, 0x541b, range, 0, 0, 0]);
        Self::close(opened);
        let directory = self.call(
            libc::SYS_open,
            self.path("d1"),
            [i64::from(libc::O_DIRECTORY), 0, 0],
        );
        let Ok(fd) = directory else { return };
        for (command, name) in [(SNAP_DESTROY, 8), (SNAP_DESTROY_V2, 56)] {
            let mut arguments = [0; SNAP_ARGUMENTS];
            arguments[name..name + 9].copy_from_slice(b"subvolume");
            let arguments = Argument::new(&arguments).as_ptr() as i64;
            let removed = syscall(libc::SYS_ioctl, [fd, command, arguments, 0, 0, 0]);
            let said = json!({"flags": command});
            self.file("SUBVOLUME_DELETE", "d1/subvolume", said, removed);
        }
        // BTRFS_SUBVOL_SPEC_BY_ID names the subvolume by its number.
        let mut arguments = [0; SNAP_ARGUMENTS];
        arguments[16] = 1 << 4;
        arguments[56..58].copy_from_slice(&[1, 1]);
        let arguments = Argument::new(&arguments).as_ptr() as i64;
        let removed = syscall(libc::SYS_ioctl, [fd, SNAP_DESTROY_V2, arguments, 0, 0, 0]);
        let said = json!({"flags": SNAP_DESTROY_V2, "subvolume": 257});
        self.file("SUBVOLUME_DELETE", "d1", said, removed);
        Self::close(directory);
    }

    /// ioctl(2) commands that set an inode's flags, on a fifo, which has none on any file system.
    pub(super) fn inode_flags(&mut self) {
        let opened = self.call(
            libc::SYS_open,
            self.path("fifo"),
            [i64::from(libc::O_RDWR), 0, 0],
        );
        let fields = json!({"flags": libc::O_RDWR});
        self.file("OPEN", "fifo", fields, opened.map(|_| 0));
        let Ok(fd) = opened else { return };
        let flags = Argument::words(&[0x40; 7]).as_ptr() as i64;
        for command in SETTING_FLAGS {
            let set = syscall(libc::SYS_ioctl, [fd, command, flags, 0, 0, 0]);
            let fields = json!({"flags": command, "attributes": 0x40});
            self.file("ATTRIBUTES", "fifo", fields, set);
        }
        // FS_IOC_GETFLAGS changes nothing.
        let _ = syscall(libc::SYS_ioctl, [fd, GETFLAGS, flags, 0, 0, 0]);
        Self::close(opened);
    }

    /// open_by_handle_at(2): opens a file without a path.
    pub(super) fn by_handle(&mut self) -> anyhow::Result<()> {
        // struct file_handle (name_to_handle_at(2)): room for MAX_HANDLE_SZ bytes, its size first.
        let room = [libc::MAX_HANDLE_SZ as u32]
            .into_iter()
            .chain([0; libc::MAX_HANDLE_SZ as usize / 4 + 1])
            .collect::<Vec<_>>();
        let handle = Argument::words(&room);
        let mount = Argument::words(&[0, 0]);
        let empty = Argument::words(&[0, 0]);
        let path = c_path(self.path("by_openat"));
        let named = syscall(
            libc::SYS_name_to_handle_at,
            [
                CWD,
                path.as_ptr() as i64,
                handle.as_ptr() as i64,
                mount.as_ptr() as i64,
                0,
                0,
            ],
        );
        // A file system can have no handles (an overlay, mounted without nfs_export).
        if named == Err("EOPNOTSUPP") {
            return Ok(());
        }
        named.map_err(anyhow::Error::msg)?;
        let flags = i64::from(libc::O_DIRECTORY);
        let directory = self.call(libc::SYS_open, self.path("d2"), [flags, 0, 0]);
        self.file("OPEN", "d2", json!({"flags": flags}), directory.map(|_| 0));
        let directory_fd = directory.map_err(anyhow::Error::msg)?;
        for (flags, handle, outcome) in [
            (libc::O_WRONLY, handle.as_ptr() as i64, None),
            (libc::O_RDWR, empty.as_ptr() as i64, Some("EINVAL")),
        ] {
            let opened = syscall(
                libc::SYS_open_by_handle_at,
                [directory_fd, handle, flags.into(), 0, 0, 0],
            );
            anyhow::ensure!(opened.err() == outcome, "a handle opened as {opened:?}");
            // A failed open has no file, and is recorded with the directory of its mount.
            let name = if opened.is_ok() { "by_openat" } else { "d2" };
            self.file("OPEN", name, json!({"flags": flags}), opened.map(|_| 0));
            Self::close(opened);
        }
        Self::close(directory);
        Ok(())
    }

    /// On kernels without these calls, the failure is recorded.
    pub(super) fn newest_xattr_calls(&mut self) {
        let (name, path) = (c_path("user.newest"), c_path(self.path("by_open")));
        let value = Argument::new(b"x");
        // struct xattr_args: the value's address in 64 bits, its size, and flags.
        let about = [value.as_ptr() as u64, 1]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect::<Vec<_>>();
        let about = Argument::new(&about);
        let (name, path) = (name.as_ptr() as i64, path.as_ptr() as i64);
        let set = syscall(SETXATTRAT, [CWD, path, 0, name, about.as_ptr() as i64, 16]);
        self.file("XATTR", "by_open", json!({"xattr": "user.newest"}), set);
        let removed = syscall(REMOVEXATTRAT, [CWD, path, 0, name, 0, 0]);
        self.file("XATTR", "by_open", json!({"xattr": "user.newest"}), removed);
    }
}
