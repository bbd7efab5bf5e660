//! Operations by place and by user: long names, other users, threads, mount
//! namespaces.

use agent_recorder_tests::stimuli::{Abi, Script, c_path, outcome, syscall};
use serde_json::json;

use super::{CWD, Stimulus};

impl Stimulus {
    pub(super) fn long_names(&mut self) {
        let name = "n".repeat(255);
        let made = self.call(libc::SYS_mkdir, self.path(&name), [0o755, 0, 0]);
        self.file("MKDIR", &name, json!({}), made);
        let longer = "n".repeat(256);
        let refused = self.call(libc::SYS_mkdir, self.path(&longer), [0o755, 0, 0]);
        self.file("MKDIR", &longer, json!({}), refused);
        // As deep as PATH_MAX (4,096 with its NUL) lets a call name.
        let mut deep = String::from("deep");
        while self.path(&deep).as_os_str().len() + 100 < 4096 {
            let made = self.call(libc::SYS_mkdir, self.path(&deep), [0o755, 0, 0]);
            self.file("MKDIR", &deep, json!({}), made);
            deep.push_str("/ninety-nine bytes of a name that is as long as it takes to come to the end of what one call can take.");
        }
        let rest = 4095 - self.path(&deep).as_os_str().len();
        if let Some(parent) = deep.rfind('/') {
            deep.truncate(parent);
        }
        let last = format!("{deep}/{}", "x".repeat(100 + rest));
        let made = self.call(libc::SYS_mkdir, self.path(&last), [0o755, 0, 0]);
        self.file("MKDIR", &last, json!({}), made);
    }

    /// A call that is refused for lack of rights is recorded with its error.
    pub(super) fn unprivileged(&mut self) {
        let locked = self.call(libc::SYS_mkdir, self.path("locked"), [0o700, 0, 0]);
        self.file("MKDIR", "locked", json!({}), locked);
        // SAFETY: the arguments are numbers, and the process has one thread, which
        // alone changes its ids.
        let _ = outcome(i64::from(unsafe {
            libc::setresuid(u32::MAX, 65534, u32::MAX)
        }));
        let refused = self.call(libc::SYS_mkdir, self.path("locked/inner"), [0o700, 0, 0]);
        self.file("MKDIR", "locked/inner", json!({}), refused);
        let refused = self.call(libc::SYS_unlink, self.path("by_creat"), [0, 0, 0]);
        self.file("DELETE", "by_creat", json!({}), refused);
        // SAFETY: the arguments are numbers, and the process has one thread, which
        // alone changes its ids.
        let _ = outcome(i64::from(unsafe { libc::setresuid(u32::MAX, 0, u32::MAX) }));
    }

    /// Each thread is recorded as itself.
    pub(super) fn threads(&mut self) -> anyhow::Result<()> {
        let (root, abi) = (self.root.clone(), Abi::current());
        let work = move |number: usize| {
            abi.enter();
            let mut stimulus = Self {
                root,
                script: Script::default(),
            };
            for round in 0..50 {
                let name = format!("thread{number}.{round}");
                let path = stimulus.path(&name);
                let flags = i64::from(libc::O_CREAT | libc::O_WRONLY);
                let opened = stimulus.call(libc::SYS_open, &path, [flags, 0o600, 0]);
                stimulus.file("CREATE", &name, json!({}), opened.map(|_| 0));
                Self::close(opened);
            }
            stimulus.script
        };
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let work = work.clone();
                std::thread::spawn(move || work(number))
            })
            .collect();
        for thread in threads {
            let script = thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))?;
            self.script.append(script);
        }
        Ok(())
    }

    /// In a mount namespace of its own, which ends with it.
    pub(super) fn mounts(&mut self) -> anyhow::Result<()> {
        // SAFETY: numbers only; the process has one thread again.
        outcome(i64::from(unsafe { libc::unshare(libc::CLONE_NEWNS) }))
            .map_err(anyhow::Error::msg)?;
        let root = c_path("/");
        let private = (libc::MS_REC | libc::MS_PRIVATE) as i64;
        syscall(libc::SYS_mount, [0, root.as_ptr() as i64, 0, private, 0, 0])
            .map_err(anyhow::Error::msg)?;
        let made = self.call(libc::SYS_mkdir, self.path("mounted"), [0o755, 0, 0]);
        self.file("MKDIR", "mounted", json!({}), made);
        let (target, kind) = (c_path(self.path("mounted")), c_path("tmpfs"));
        let (at, kind) = (target.as_ptr() as i64, kind.as_ptr() as i64);
        let mounted = syscall(libc::SYS_mount, [kind, at, kind, 0, 0, 0]);
        self.file("MOUNT", "mounted", json!({"newPath": "tmpfs"}), mounted);
        let made = self.call(libc::SYS_mkdir, self.path("mounted/inner"), [0o755, 0, 0]);
        self.file("MKDIR", "mounted/inner", json!({}), made);
        let removed = self.call(
            libc::SYS_rmdir,
            self.path("mounted/../mounted/inner"),
            [0, 0, 0],
        );
        self.file("RMDIR", "mounted/inner", json!({}), removed);
        let gone = syscall(
            libc::SYS_umount2,
            [at, i64::from(libc::MNT_DETACH), 0, 0, 0, 0],
        );
        self.file("UMOUNT", "mounted", json!({}), gone);
        let again = syscall(libc::SYS_umount2, [at, 0, 0, 0, 0, 0]);
        self.file("UMOUNT", "mounted", json!({}), again);
        self.moved_mount()
    }

    /// A detached tree that is attached by its descriptor: it has no path of its own.
    fn moved_mount(&mut self) -> anyhow::Result<()> {
        let made = self.call(libc::SYS_mkdir, self.path("cloned"), [0o755, 0, 0]);
        self.file("MKDIR", "cloned", json!({}), made);
        let clone = i64::from(libc::OPEN_TREE_CLONE) | i64::from(libc::AT_RECURSIVE);
        let tree = self
            .at(libc::SYS_open_tree, CWD, self.path("d1"), [clone, 0, 0])
            .map_err(anyhow::Error::msg)?;
        let (nothing, onto) = (c_path(""), c_path(self.path("cloned")));
        // MOVE_MOUNT_F_EMPTY_PATH (include/uapi/linux/mount.h).
        let moved = syscall(
            libc::SYS_move_mount,
            [
                tree,
                nothing.as_ptr() as i64,
                CWD,
                onto.as_ptr() as i64,
                4,
                0,
            ],
        );
        self.file("MOUNT", "cloned", json!({}), moved);
        Self::close(Ok(tree));
        let made = self.call(libc::SYS_mkdir, self.path("cloned/within"), [0o755, 0, 0]);
        self.file("MKDIR", "cloned/within", json!({}), made);
        let gone = self.call(
            libc::SYS_umount2,
            self.path("cloned"),
            [i64::from(libc::MNT_DETACH), 0, 0],
        );
        self.file("UMOUNT", "cloned", json!({}), gone);
        let removed = self.call(libc::SYS_rmdir, self.path("d1/within"), [0, 0, 0]);
        self.file("RMDIR", "d1/within", json!({}), removed);
        Ok(())
    }
}
