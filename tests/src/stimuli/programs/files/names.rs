//! Files without a name, with two names, and with a name that may only lead
//! downwards.

use agent_recorder_tests::stimuli::{Argument, Outcome, c_path, syscall};
use serde_json::json;

use super::{CWD, Stimulus};

impl Stimulus {
    /// open(2) with O_TMPFILE, and linkat(2) that gives the file its first name,
    /// in both ways that there are. Inside the kernel it is called `#` and its inode's number.
    pub(super) fn unnamed(&mut self) -> anyhow::Result<()> {
        let made = self.call(libc::SYS_mkdir, self.path("names"), [0o755, 0, 0]);
        self.file("MKDIR", "names", json!({}), made);
        let flags = i64::from(libc::O_TMPFILE | libc::O_RDWR);
        for (name, empty_path) in [("names/by_proc", false), ("names/by_fd", true)] {
            let opened = self.call(libc::SYS_open, self.path("names"), [flags, 0o600, 0]);
            let Ok(fd) = opened else {
                // A file system can have no such files (EOPNOTSUPP).
                let asked = json!({"flags": flags, "mode": 0o600});
                self.file("OPEN", "names", asked, opened);
                continue;
            };
            let unnamed = format!("names/#{}", inode_of(fd)?);
            let asked = json!({"flags": flags, "mode": 0o600});
            self.file("CREATE", &unnamed, asked, Ok(0));
            let (directory, old, how) = if empty_path {
                (fd, c_path(""), libc::AT_EMPTY_PATH)
            } else {
                let old = c_path(format!("/proc/self/fd/{fd}"));
                (CWD, old, libc::AT_SYMLINK_FOLLOW)
            };
            let new = c_path(self.path(name));
            let (old, new) = (old.as_ptr() as i64, new.as_ptr() as i64);
            let linked = syscall(
                libc::SYS_linkat,
                [directory, old, CWD, new, i64::from(how), 0],
            );
            let names = json!({"newPath": self.shown(name)});
            self.file("LINK", &unnamed, names, linked);
            Self::close(opened);
            let removed = self.call(libc::SYS_unlink, self.path(name), [0, 0, 0]);
            self.file("DELETE", name, json!({}), removed);
        }
        Ok(())
    }

    /// A file with two names loses one, and then the other.
    pub(super) fn two_names(&mut self) {
        let flags = i64::from(libc::O_CREAT | libc::O_WRONLY);
        let opened = self.call(libc::SYS_open, self.path("one"), [flags, 0o600, 0]);
        self.file("CREATE", "one", json!({"flags": flags}), opened.map(|_| 0));
        Self::close(opened);
        let linked = self.two(libc::SYS_link, "one", "other");
        let names = json!({"newPath": self.shown("other")});
        self.file("LINK", "one", names, linked);
        for name in ["one", "other"] {
            let removed = self.call(libc::SYS_unlink, self.path(name), [0, 0, 0]);
            self.file("DELETE", name, json!({}), removed);
        }
        let again = self.call(libc::SYS_unlink, self.path("other"), [0, 0, 0]);
        self.file("DELETE", "other", json!({}), again);
    }

    /// renameat2(2): to a name that is free, and between names of two directories.
    pub(super) fn exchanged(&mut self) {
        for name in ["free", "taken"] {
            let made = self.call(libc::SYS_mkdir, self.path(name), [0o755, 0, 0]);
            self.file("MKDIR", name, json!({}), made);
        }
        for (from, to, flags) in [
            ("free", "freed", libc::RENAME_NOREPLACE),
            ("freed", "taken", libc::RENAME_NOREPLACE),
            ("freed", "taken", libc::RENAME_EXCHANGE),
            ("freed", "nobody", libc::RENAME_EXCHANGE),
        ] {
            let flags = i64::from(flags);
            let moved = self.two_at(libc::SYS_renameat2, from, to, flags);
            let how = json!({"newPath": self.shown(to), "flags": flags});
            self.file("RENAME", from, how, moved);
        }
        for name in ["freed", "taken"] {
            let flags = i64::from(libc::AT_REMOVEDIR);
            let removed = self.at(libc::SYS_unlinkat, CWD, self.path(name), [flags, 0, 0]);
            self.file("RMDIR", name, json!({}), removed);
        }
    }

    /// openat2(2) with RESOLVE_BENEATH: a path that leads out is refused.
    pub(super) fn beneath(&mut self) {
        let made = self.call(libc::SYS_mkdir, self.path("under"), [0o755, 0, 0]);
        self.file("MKDIR", "under", json!({}), made);
        let flags = i64::from(libc::O_DIRECTORY);
        let directory = self.call(libc::SYS_open, self.path("under"), [flags, 0, 0]);
        let asked = json!({"flags": flags});
        self.file("OPEN", "under", asked, directory.map(|_| 0));
        let Ok(fd) = directory else { return };
        let creates = i64::from(libc::O_CREAT | libc::O_WRONLY);
        let opened = self.open_beneath(fd, "./file", creates, 0o600);
        let asked = json!({"flags": creates, "mode": 0o600});
        self.file("CREATE", "under/file", asked, opened.map(|_| 0));
        Self::close(opened);
        let writes = i64::from(libc::O_WRONLY);
        for (path, name) in [("file", "under/file"), ("../by_open", "by_open")] {
            let opened = self.open_beneath(fd, path, writes, 0);
            self.file("OPEN", name, json!({"flags": writes}), opened.map(|_| 0));
            Self::close(opened);
        }
        let removed = self.at(libc::SYS_unlinkat, fd, "file", [0, 0, 0]);
        self.file("DELETE", "under/file", json!({}), removed);
        Self::close(directory);
    }

    fn open_beneath(&self, directory: i64, path: &str, flags: i64, mode: i64) -> Outcome {
        let resolve = i64::try_from(libc::RESOLVE_BENEATH).unwrap_or_default();
        let how: Vec<u8> = [flags, mode, resolve]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let how = Argument::new(&how);
        self.at(
            libc::SYS_openat2,
            directory,
            path,
            [how.as_ptr() as i64, 24, 0],
        )
    }
}

fn inode_of(fd: i64) -> anyhow::Result<u64> {
    // SAFETY: the descriptor was just opened, and is not closed before the caller does so.
    let file = unsafe { rustix::fd::BorrowedFd::borrow_raw(i32::try_from(fd)?) };
    Ok(rustix::fs::fstat(file)?.st_ino)
}
