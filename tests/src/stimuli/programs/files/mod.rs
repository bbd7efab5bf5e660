//! Performs every file operation through each of its system calls inside the given
//! directory, and reports each.
//!
//! `stimulus files DIRECTORY` does so through the native ABI, `stimulus files DIRECTORY
//! compat` through the 32-bit one.

mod calls;
mod names;
mod places;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use agent_recorder_tests::stimuli::{Abi, Argument, Outcome, Script, c_path, syscall};
use anyhow::Context as _;
use serde_json::{Value, json};

const CWD: i64 = libc::AT_FDCWD as i64;

struct Stimulus {
    root: PathBuf,
    script: Script,
}

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let root = PathBuf::from(words.first().context("stimulus files DIRECTORY")?);
    let mut stimulus = Stimulus {
        root,
        script: Script::default(),
    };
    if words.len() > 1 {
        Abi::Compat.enter();
    }
    stimulus.creates();
    stimulus.directories();
    stimulus.links();
    stimulus.attributes();
    stimulus.renames();
    stimulus.lengths();
    stimulus.deletes();
    stimulus.odd_names();
    stimulus.unnamed()?;
    stimulus.two_names();
    stimulus.exchanged();
    stimulus.beneath();
    if Abi::current() == Abi::Compat {
        stimulus.compat_only();
    }
    stimulus.by_handle()?;
    stimulus.newest_xattr_calls();
    stimulus.commands();
    stimulus.inode_flags();
    stimulus.long_names();
    stimulus.unprivileged();
    stimulus.threads()?;
    stimulus.mounts()?;
    stimulus.script.tell()?;
    Ok(())
}

impl Stimulus {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn file(&mut self, op: &str, name: &str, more: Value, outcome: Outcome) {
        let mut fields = json!({"op": op, "path": self.shown(name), "via": "SYSCALL"});
        if let (Some(fields), Some(more)) = (fields.as_object_mut(), more.as_object()) {
            fields.extend(more.clone());
        }
        self.script.did("file", fields, outcome);
    }

    fn call(&self, number: i64, path: impl AsRef<Path>, rest: [i64; 3]) -> Outcome {
        let path = c_path(path);
        syscall(
            number,
            [path.as_ptr() as i64, rest[0], rest[1], rest[2], 0, 0],
        )
    }

    fn at(&self, number: i64, dirfd: i64, path: impl AsRef<Path>, rest: [i64; 3]) -> Outcome {
        let path = c_path(path);
        syscall(
            number,
            [dirfd, path.as_ptr() as i64, rest[0], rest[1], rest[2], 0],
        )
    }

    fn close(outcome: Outcome) {
        if let Ok(fd) = outcome {
            // A descriptor that was just opened: closing it cannot fail in a way that matters here.
            let _ = syscall(libc::SYS_close, [fd, 0, 0, 0, 0, 0]);
        }
    }

    fn creates(&mut self) {
        let flags = i64::from(libc::O_CREAT | libc::O_WRONLY);
        let opened = self.call(libc::SYS_open, self.path("by_open"), [flags, 0o640, 0]);
        self.file(
            "CREATE",
            "by_open",
            json!({"flags": flags, "mode": 0o640}),
            opened.map(|_| 0),
        );
        Self::close(opened);
        let opened = self.at(
            libc::SYS_openat,
            CWD,
            self.path("by_openat"),
            [flags, 0o600, 0],
        );
        self.file(
            "CREATE",
            "by_openat",
            json!({"flags": flags, "mode": 0o600}),
            opened.map(|_| 0),
        );
        Self::close(opened);
        let how: Vec<u8> = [flags, 0o600, 0]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let how = Argument::new(&how);
        let opened = self.at(
            libc::SYS_openat2,
            CWD,
            self.path("by_openat2"),
            [how.as_ptr() as i64, 24, 0],
        );
        self.file(
            "CREATE",
            "by_openat2",
            json!({"flags": flags, "mode": 0o600}),
            opened.map(|_| 0),
        );
        Self::close(opened);
        let opened = self.call(libc::SYS_creat, self.path("by_creat"), [0o644, 0, 0]);
        self.file(
            "CREATE",
            "by_creat",
            json!({"mode": 0o644}),
            opened.map(|_| 0),
        );
        Self::close(opened);
        // creat(2) opens and truncates the existing file.
        let opened = self.call(libc::SYS_creat, self.path("by_creat"), [0o644, 0, 0]);
        self.file("OPEN", "by_creat", json!({}), opened.map(|_| 0));
        Self::close(opened);
        for _ in 0..2 {
            let opened = self.call(
                libc::SYS_open,
                self.path("by_open"),
                [i64::from(libc::O_RDWR), 0, 0],
            );
            self.file(
                "OPEN",
                "by_open",
                json!({"flags": libc::O_RDWR}),
                opened.map(|_| 0),
            );
            Self::close(opened);
        }
        // Two opens for reading are recorded once.
        let opened = self.call(libc::SYS_open, self.path("by_openat"), [0, 0, 0]);
        self.file("OPEN", "by_openat", json!({"flags": 0}), opened.map(|_| 0));
        Self::close(opened);
        Self::close(self.call(libc::SYS_open, self.path("by_openat"), [0, 0, 0]));
        let failed = self.call(libc::SYS_open, self.path("absent"), [0, 0, 0]);
        self.file("OPEN", "absent", json!({"flags": 0}), failed);
        let made = self.call(
            libc::SYS_mknod,
            self.path("fifo"),
            [i64::from(libc::S_IFIFO | 0o600), 0, 0],
        );
        self.file(
            "CREATE",
            "fifo",
            json!({"mode": libc::S_IFIFO | 0o600}),
            made,
        );
        let made = self.at(
            libc::SYS_mknodat,
            CWD,
            self.path("fifo2"),
            [i64::from(libc::S_IFIFO | 0o600), 0, 0],
        );
        self.file(
            "CREATE",
            "fifo2",
            json!({"mode": libc::S_IFIFO | 0o600}),
            made,
        );
    }

    fn directories(&mut self) {
        let made = self.call(libc::SYS_mkdir, self.path("d1"), [0o755, 0, 0]);
        self.file("MKDIR", "d1", json!({"mode": 0o755}), made);
        let made = self.at(libc::SYS_mkdirat, CWD, self.path("d2"), [0o700, 0, 0]);
        self.file("MKDIR", "d2", json!({"mode": 0o700}), made);
        let again = self.call(libc::SYS_mkdir, self.path("d1"), [0o755, 0, 0]);
        self.file("MKDIR", "d1", json!({"mode": 0o755}), again);
        // Relative to a descriptor, through `..` and through a link.
        let directory = self.call(
            libc::SYS_open,
            self.path("d1"),
            [i64::from(libc::O_DIRECTORY), 0, 0],
        );
        self.file(
            "OPEN",
            "d1",
            json!({"flags": libc::O_DIRECTORY}),
            directory.map(|_| 0),
        );
        let Ok(fd) = directory else { return };
        let made = self.at(libc::SYS_mkdirat, fd, "inner", [0o755, 0, 0]);
        self.file("MKDIR", "d1/inner", json!({}), made);
        let made = self.at(libc::SYS_mkdirat, fd, "../d2/from_d1", [0o755, 0, 0]);
        self.file("MKDIR", "d2/from_d1", json!({}), made);
        let target = c_path("d2");
        let link = c_path(self.path("to_d2"));
        let linked = syscall(
            libc::SYS_symlink,
            [target.as_ptr() as i64, link.as_ptr() as i64, 0, 0, 0, 0],
        );
        self.file("SYMLINK", "to_d2", json!({"newPath": "d2"}), linked);
        let made = self.at(libc::SYS_mkdirat, fd, "../to_d2/./by_link", [0o755, 0, 0]);
        self.file("MKDIR", "d2/by_link", json!({}), made);
        let removed = self.at(
            libc::SYS_unlinkat,
            fd,
            "inner",
            [i64::from(libc::AT_REMOVEDIR), 0, 0],
        );
        self.file("RMDIR", "d1/inner", json!({}), removed);
        Self::close(directory);
        let moved = syscall(
            libc::SYS_chdir,
            [c_path(self.path("d2")).as_ptr() as i64, 0, 0, 0, 0, 0],
        );
        self.file("CHDIR", "d2", json!({}), moved);
        let removed = self.call(libc::SYS_rmdir, "from_d1", [0, 0, 0]);
        self.file("RMDIR", "d2/from_d1", json!({}), removed);
        let removed = self.call(libc::SYS_rmdir, "../d2/by_link", [0, 0, 0]);
        self.file("RMDIR", "d2/by_link", json!({}), removed);
        let failed = self.call(libc::SYS_rmdir, "nothing", [0, 0, 0]);
        self.file("RMDIR", "d2/nothing", json!({}), failed);
    }

    fn two(&self, number: i64, from: &str, to: &str) -> Outcome {
        let (from, to) = (c_path(self.path(from)), c_path(self.path(to)));
        syscall(
            number,
            [from.as_ptr() as i64, to.as_ptr() as i64, 0, 0, 0, 0],
        )
    }

    fn two_at(&self, number: i64, from: &str, to: &str, flags: i64) -> Outcome {
        let (from, to) = (c_path(self.path(from)), c_path(self.path(to)));
        syscall(
            number,
            [CWD, from.as_ptr() as i64, CWD, to.as_ptr() as i64, flags, 0],
        )
    }

    fn links(&mut self) {
        let linked = self.two(libc::SYS_link, "by_open", "hard1");
        self.file(
            "LINK",
            "by_open",
            json!({"newPath": self.shown("hard1")}),
            linked,
        );
        let linked = self.two_at(libc::SYS_linkat, "by_open", "hard2", 0);
        self.file(
            "LINK",
            "by_open",
            json!({"newPath": self.shown("hard2")}),
            linked,
        );
        let (target, link) = (c_path("by_open"), c_path(self.path("soft")));
        let linked = syscall(
            libc::SYS_symlinkat,
            [target.as_ptr() as i64, CWD, link.as_ptr() as i64, 0, 0, 0],
        );
        self.file("SYMLINK", "soft", json!({"newPath": "by_open"}), linked);
    }

    fn attributes(&mut self) {
        let changed = self.call(libc::SYS_chmod, self.path("soft"), [0o600, 0, 0]);
        self.file("CHMOD", "by_open", json!({"mode": 0o600}), changed);
        let changed = self.at(
            libc::SYS_fchmodat,
            CWD,
            self.path("by_openat"),
            [0o604, 0, 0],
        );
        self.file("CHMOD", "by_openat", json!({"mode": 0o604}), changed);
        let changed = self.at(452, CWD, self.path("by_openat"), [0o600, 0, 0]);
        self.file("CHMOD", "by_openat", json!({"mode": 0o600}), changed);
        let changed = self.call(libc::SYS_chown, self.path("soft"), [0, 0, 0]);
        self.file("CHOWN", "by_open", json!({"uid": 0, "gid": 0}), changed);
        let changed = self.call(libc::SYS_lchown, self.path("soft"), [0, -1, 0]);
        self.file("CHOWN", "soft", json!({"uid": 0}), changed);
        let changed = self.at(
            libc::SYS_fchownat,
            CWD,
            self.path("soft"),
            [0, 0, i64::from(libc::AT_SYMLINK_NOFOLLOW)],
        );
        self.file("CHOWN", "soft", json!({"uid": 0, "gid": 0}), changed);
        let opened = self.call(
            libc::SYS_open,
            self.path("by_openat2"),
            [i64::from(libc::O_WRONLY), 0, 0],
        );
        self.file(
            "OPEN",
            "by_openat2",
            json!({"flags": libc::O_WRONLY}),
            opened.map(|_| 0),
        );
        if let Ok(fd) = opened {
            let changed = syscall(libc::SYS_fchmod, [fd, 0o640, 0, 0, 0, 0]);
            self.file("CHMOD", "by_openat2", json!({"mode": 0o640}), changed);
            let changed = syscall(libc::SYS_fchown, [fd, 0, 0, 0, 0, 0]);
            self.file("CHOWN", "by_openat2", json!({"uid": 0, "gid": 0}), changed);
            let (name, value) = (c_path("user.agent"), Argument::new(b"x"));
            let set = syscall(
                libc::SYS_fsetxattr,
                [fd, name.as_ptr() as i64, value.as_ptr() as i64, 1, 0, 0],
            );
            self.file("XATTR", "by_openat2", json!({"xattr": "user.agent"}), set);
            let set = syscall(
                libc::SYS_fremovexattr,
                [fd, name.as_ptr() as i64, 0, 0, 0, 0],
            );
            self.file("XATTR", "by_openat2", json!({"xattr": "user.agent"}), set);
            Self::close(opened);
        }
        for (set, remove, shown) in [
            (libc::SYS_setxattr, libc::SYS_removexattr, "by_open"),
            (libc::SYS_lsetxattr, libc::SYS_lremovexattr, "soft"),
        ] {
            let (name, value, path) = (
                c_path("user.agent"),
                Argument::new(b"x"),
                c_path(self.path("soft")),
            );
            let outcome = syscall(
                set,
                [
                    path.as_ptr() as i64,
                    name.as_ptr() as i64,
                    value.as_ptr() as i64,
                    1,
                    0,
                    0,
                ],
            );
            self.file("XATTR", shown, json!({"xattr": "user.agent"}), outcome);
            let outcome = syscall(
                remove,
                [path.as_ptr() as i64, name.as_ptr() as i64, 0, 0, 0, 0],
            );
            self.file("XATTR", shown, json!({"xattr": "user.agent"}), outcome);
        }
    }

    fn renames(&mut self) {
        let moved = self.two(libc::SYS_rename, "hard1", "d1/hard1");
        self.file(
            "RENAME",
            "hard1",
            json!({"newPath": self.shown("d1/hard1")}),
            moved,
        );
        let moved = self.two_at(libc::SYS_renameat, "hard2", "hard3", 0);
        self.file(
            "RENAME",
            "hard2",
            json!({"newPath": self.shown("hard3")}),
            moved,
        );
        let flags = i64::from(libc::RENAME_EXCHANGE);
        let moved = self.two_at(libc::SYS_renameat2, "hard3", "by_creat", flags);
        self.file(
            "RENAME",
            "hard3",
            json!({"newPath": self.shown("by_creat"), "flags": flags}),
            moved,
        );
        let flags = i64::from(libc::RENAME_NOREPLACE);
        let moved = self.two_at(libc::SYS_renameat2, "hard3", "by_creat", flags);
        self.file(
            "RENAME",
            "hard3",
            json!({"newPath": self.shown("by_creat"), "flags": flags}),
            moved,
        );
        let moved = self.two(libc::SYS_rename, "absent", "never");
        self.file(
            "RENAME",
            "absent",
            json!({"newPath": self.shown("never")}),
            moved,
        );
    }

    fn lengths(&mut self) {
        let cut = self.call(libc::SYS_truncate, self.path("soft"), [10, 0, 0]);
        self.file("TRUNCATE", "by_open", json!({"length": 10}), cut);
        let opened = self.call(
            libc::SYS_open,
            self.path("by_open"),
            [i64::from(libc::O_WRONLY | libc::O_TRUNC), 0, 0],
        );
        self.file(
            "OPEN",
            "by_open",
            json!({"flags": libc::O_WRONLY | libc::O_TRUNC}),
            opened.map(|_| 0),
        );
        if let Ok(fd) = opened {
            let cut = syscall(libc::SYS_ftruncate, [fd, 4096, 0, 0, 0, 0]);
            self.file("TRUNCATE", "by_open", json!({"length": 4096}), cut);
        }
        Self::close(opened);
    }

    fn deletes(&mut self) {
        let removed = self.call(libc::SYS_unlink, self.path("soft"), [0, 0, 0]);
        self.file("DELETE", "soft", json!({}), removed);
        let removed = self.at(libc::SYS_unlinkat, CWD, self.path("by_openat2"), [0, 0, 0]);
        self.file("DELETE", "by_openat2", json!({}), removed);
        let failed = self.call(libc::SYS_unlink, self.path("d1"), [0, 0, 0]);
        self.file("DELETE", "d1", json!({}), failed);
        let failed = self.call(libc::SYS_unlink, self.path("by_open/x"), [0, 0, 0]);
        self.file("DELETE", "by_open/x", json!({}), failed);
    }

    fn odd_names(&mut self) {
        use std::os::unix::ffi::OsStrExt as _;
        let name = std::ffi::OsStr::from_bytes(b"odd \xff\n\x1b[2J");
        let path = self.root.join(name);
        let flags = i64::from(libc::O_CREAT | libc::O_WRONLY);
        let opened = self.call(libc::SYS_open, &path, [flags, 0o600, 0]);
        Self::close(opened);
        let removed = self.call(libc::SYS_unlink, &path, [0, 0, 0]);
        let exact = base64_of(path.as_os_str().as_bytes());
        self.script.did(
            "file",
            json!({"op": "CREATE", "pathB64": exact}),
            opened.map(|_| 0),
        );
        self.script
            .did("file", json!({"op": "DELETE", "pathB64": exact}), removed);
    }
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
