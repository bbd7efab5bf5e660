//! Forks, execs and ends in every way of a process, and reports each act.
//!
//! `stim_processes DIRECTORY` does all of it; it starts itself again in the other
//! forms. Children call async-signal-safe functions only.

use std::ffi::{CString, OsString};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use agent_recorder_tests::stimuli::{
    Abi, Argument, Outcome, Script, Who, c_path, outcome, syscall,
};
use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Processes of the storm, unless [`STORM_VARIABLE`] says how many.
const STORM: usize = 2_000;
/// Overrides [`STORM`] where so many take minutes.
const STORM_VARIABLE: &str = "AGENT_RECORDER_STORM";
/// Children of the storm that live at one time.
const STORM_AT_ONCE: usize = 100;

struct Stimulus {
    root: PathBuf,
    program: PathBuf,
    script: Script,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    // `empty_argv` starts this program with no arguments, or with an empty name only.
    if std::env::args_os().all(|name| name.is_empty()) {
        std::process::exit(i32::try_from(std::env::args_os().len())?);
    }
    let first = arguments.next().context("stim_processes DIRECTORY")?;
    match first.to_str() {
        Some("exit") => std::process::exit(7),
        Some("thread-exec") => return exec_from_a_thread(),
        _ => {}
    }
    let program = std::env::current_exe()?;
    let argv: Vec<OsString> = std::env::args_os().collect();
    let mut stimulus = Stimulus {
        root: first.into(),
        program: program.clone(),
        script: Script::default(),
    };
    stimulus.became(Who::running(), &program, &argv);
    stimulus.endings()?;
    stimulus.programs()?;
    stimulus.arguments()?;
    stimulus.scripts()?;
    stimulus.failures()?;
    stimulus.failures_of_32_bit_code();
    stimulus.made_otherwise()?;
    stimulus.threads()?;
    stimulus.ends_at_once()?;
    stimulus.storm()?;
    stimulus.ended(Who::running(), 0, 0);
    stimulus.script.tell()?;
    Ok(())
}

/// A thread that is not the first execs: it takes the process over (`de_thread()`).
fn exec_from_a_thread() -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let other = std::thread::spawn(std::thread::park);
    let failed = std::thread::spawn(move || Command::new(program).arg("exit").exec());
    let error = failed
        .join()
        .map_err(|_| anyhow::anyhow!("the thread panicked"))?;
    other.thread().unpark();
    Err(error.into())
}

/// A second thread and this one end in the same moment.
fn end_with_a_thread() -> std::io::Result<()> {
    static READY: AtomicU32 = AtomicU32::new(0);
    fn end() {
        READY.fetch_add(1, Ordering::SeqCst);
        while READY.load(Ordering::SeqCst) < 2 {
            std::hint::spin_loop();
        }
        // SAFETY: ends this thread, which holds nothing that the other needs.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    std::thread::Builder::new().spawn(end)?;
    end();
    Ok(())
}

fn c_string(bytes: &[u8]) -> anyhow::Result<CString> {
    Ok(CString::new(bytes)?)
}

/// Forks a child, which does `work` and exits with its result. Returns the child's pid.
fn fork(work: impl FnOnce() -> i32) -> anyhow::Result<u32> {
    // SAFETY: the process has one thread, and the work is async-signal-safe.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let code = work();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) };
    }
    ensure!(child > 0, "fork: {}", std::io::Error::last_os_error());
    Ok(child.unsigned_abs())
}

/// Waits for a child, and returns its status in the form of wait(2).
fn wait(pid: u32) -> anyhow::Result<i32> {
    let pid = i32::try_from(pid)?;
    let mut status = 0;
    // SAFETY: the child is this process's, and the status is an int.
    outcome(i64::from(unsafe { libc::waitpid(pid, &raw mut status, 0) }))
        .map_err(|errno| anyhow::anyhow!("waitpid: {errno}"))?;
    Ok(status)
}

/// Exit status of a child that could not exec or do its work.
const NOT_EXECED: i32 = 99;
/// Repetitions: in some, both threads end at the same moment.
const ENDS_AT_ONCE: usize = 200;

impl Stimulus {
    fn forked(&mut self, who: Who, child: u32) {
        self.script
            .did_as(who, "fork", json!({"childPid": child}), Ok(0));
    }

    fn ended(&mut self, who: Who, code: i32, signal: i32) {
        self.script
            .did_as(who, "exit", json!({"code": code, "signal": signal}), Ok(0));
    }

    fn became(&mut self, who: Who, exe: &Path, argv: &[OsString]) {
        let argv: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
        let fields = json!({"exe": exe, "argv": argv, "argvTruncated": false});
        self.script.did_as(who, "exec", fields, Ok(0));
    }

    /// Makes a child that does `work`. Reports its birth, `acts` and its end.
    fn child(
        &mut self,
        work: impl FnOnce() -> i32,
        acts: impl FnOnce(&mut Self, Who),
        end: (i32, i32),
    ) -> anyhow::Result<()> {
        let child = fork(work)?;
        wait(child)?;
        let who = Who::child(child);
        self.forked(Who::running(), child);
        acts(self, who);
        self.ended(who, end.0, end.1);
        Ok(())
    }

    fn endings(&mut self) -> anyhow::Result<()> {
        for code in [0, 1, 42, 255] {
            self.child(|| code, |_, _| {}, (code, 0))?;
        }
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2] {
            let work = || {
                // SAFETY: the child signals itself.
                unsafe { libc::raise(signal) };
                NOT_EXECED
            };
            self.child(work, |_, _| {}, (0, signal))?;
        }
        Ok(())
    }

    /// Execs this program, so that it ends with 7.
    fn exec(&mut self, path: &Path, argv: &[OsString], exe: &Path) -> anyhow::Result<()> {
        let file = c_string(path.as_os_str().as_bytes())?;
        let strings: Vec<CString> = argv
            .iter()
            .map(|word| c_string(word.as_bytes()))
            .collect::<Result<_, _>>()?;
        let mut pointers: Vec<_> = strings.iter().map(|string| string.as_ptr()).collect();
        pointers.push(std::ptr::null());
        let work = || {
            // SAFETY: the path ends with a NUL and the array with a null pointer.
            unsafe { libc::execv(file.as_ptr(), pointers.as_ptr()) };
            NOT_EXECED
        };
        self.child(work, |this, who| this.became(who, exe, argv), (7, 0))
    }

    fn argv(&self) -> Vec<OsString> {
        vec![self.program.clone().into(), "exit".into()]
    }

    fn programs(&mut self) -> anyhow::Result<()> {
        let program = self.program.clone();
        self.exec(&program, &self.argv(), &program)?;
        // Through a link, a relative path and a descriptor.
        let link = self.root.join("link");
        std::os::unix::fs::symlink(&program, &link)?;
        self.exec(&link, &["another name".into(), "exit".into()], &program)?;
        std::env::set_current_dir(&self.root)?;
        self.exec(Path::new("./link"), &self.argv(), &program)?;
        let file = std::fs::File::open(&program)?;
        let by_descriptor = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        self.exec(&by_descriptor, &self.argv(), &program)?;
        self.without_a_path(&file)?;
        self.in_memory()
    }

    /// execveat(2) with AT_EMPTY_PATH.
    fn without_a_path(&mut self, file: &std::fs::File) -> anyhow::Result<()> {
        let (empty, name, word) = (c"", c"by descriptor", c"exit");
        let argv = [name.as_ptr(), word.as_ptr(), std::ptr::null()];
        let work = || {
            let arguments = [
                i64::from(file.as_raw_fd()),
                empty.as_ptr() as i64,
                argv.as_ptr() as i64,
                0,
                i64::from(libc::AT_EMPTY_PATH),
                0,
            ];
            let _ = syscall(libc::SYS_execveat, arguments);
            NOT_EXECED
        };
        let program = self.program.clone();
        let argv = ["by descriptor".into(), "exit".into()];
        self.child(work, |this, who| this.became(who, &program, &argv), (7, 0))
    }

    /// A program that no directory holds.
    fn in_memory(&mut self) -> anyhow::Result<()> {
        let memory = rustix::fs::memfd_create("unseen", rustix::fs::MemfdFlags::CLOEXEC)?;
        let bytes = std::fs::read(&self.program)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::write(&memory, rest)?;
            rest = &rest[written..];
        }
        let (empty, name, word) = (c"", c"memory", c"exit");
        let argv = [name.as_ptr(), word.as_ptr(), std::ptr::null()];
        let work = || {
            let arguments = [
                i64::from(memory.as_raw_fd()),
                empty.as_ptr() as i64,
                argv.as_ptr() as i64,
                0,
                i64::from(libc::AT_EMPTY_PATH),
                0,
            ];
            let _ = syscall(libc::SYS_execveat, arguments);
            NOT_EXECED
        };
        let became = |this: &mut Self, who| {
            let fields = json!({"argv": ["memory", "exit"], "fileless": true});
            this.script.did_as(who, "exec", fields, Ok(0));
        };
        self.child(work, became, (7, 0))
    }

    fn arguments(&mut self) -> anyhow::Result<()> {
        let program = self.program.clone();
        let mut many = self.argv();
        many.extend((0..300).map(|number| OsString::from(format!("argument {number}"))));
        self.exec(&program, &many, &program)?;
        let mut odd = self.argv();
        odd.extend(["".into(), "two\nlines".into(), "\u{1b}[2J".into()]);
        self.exec(&program, &odd, &program)?;
        self.not_utf8()?;
        self.too_much()
    }

    fn not_utf8(&mut self) -> anyhow::Result<()> {
        let mut argv = self.argv();
        argv.push(OsString::from_vec(b"\xff\xfe".to_vec()));
        let exact: Vec<String> = argv
            .iter()
            .map(|word| STANDARD.encode(word.as_bytes()))
            .collect();
        let (program, words) = (self.program.clone(), argv.clone());
        let mut command = Command::new(&program);
        command.args(&words[1..]);
        let fields = json!({"exe": program, "argvB64": exact});
        self.spawned(command, fields, 7)
    }

    /// An argv of 2 MiB: arguments of almost the largest size (MAX_ARG_STRLEN, 128 KiB).
    fn too_much(&mut self) -> anyhow::Result<()> {
        let long = "x".repeat(128 * 1024 - 1);
        let mut command = Command::new(&self.program);
        command
            .arg("exit")
            .args(std::iter::repeat_n(&long, 15))
            .env_clear();
        let bytes = self.program.as_os_str().len() + 1 + "exit".len() + 1 + 15 * (long.len() + 1);
        let fields = json!({"exe": self.program, "argvTruncated": true, "argvBytes": bytes});
        self.spawned(command, fields, 7)
    }

    /// A child that the standard library makes (vfork or clone3, by the C library's posix_spawn).
    fn spawned(&mut self, mut command: Command, exec: Value, code: i32) -> anyhow::Result<()> {
        let mut child = command.spawn()?;
        child.wait()?;
        let who = Who::child(child.id());
        self.forked(Who::running(), child.id());
        self.script.did_as(who, "exec", exec, Ok(0));
        self.ended(who, code, 0);
        Ok(())
    }

    /// The kernel starts the interpreter, with the script as its argument (execve(2)).
    fn scripts(&mut self) -> anyhow::Result<()> {
        let script = self.root.join("script");
        let interpreter = std::fs::canonicalize("/bin/sh")?;
        std::fs::write(&script, "#!/bin/sh -e\nexit 7\n")?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
        let argv = ["/bin/sh", "-e"].map(OsString::from);
        let seen = [
            argv[0].clone(),
            argv[1].clone(),
            script.clone().into(),
            "word".into(),
        ];
        let mut command = Command::new(&script);
        command.arg("word");
        let words: Vec<_> = seen.iter().map(|word| word.to_string_lossy()).collect();
        let fields = json!({"exe": interpreter, "argv": words});
        self.spawned(command, fields, 7)
    }

    /// Execs that the kernel refuses: each is recorded with its errno.
    fn failures(&mut self) -> anyhow::Result<()> {
        let plain = self.root.join("plain");
        std::fs::write(&plain, "no program")?;
        let broken = self.root.join("broken");
        std::fs::write(&broken, "no program")?;
        std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755))?;
        for path in [
            self.root.join("absent"),
            plain.clone(),
            broken,
            plain.join("x"),
        ] {
            let file = c_string(path.as_os_str().as_bytes())?;
            let argv = [file.as_ptr(), c"word".as_ptr(), std::ptr::null()];
            // SAFETY: the path ends with a NUL and the array with a null pointer.
            let refused = outcome(i64::from(unsafe {
                libc::execv(file.as_ptr(), argv.as_ptr())
            }));
            self.refused(&path, refused);
        }
        Ok(())
    }

    fn refused(&mut self, path: &Path, refused: Outcome) {
        let fields = json!({"filename": path, "argv": [path, "word"]});
        self.script.did("exec", fields, refused);
    }

    /// An exec of 32-bit code, whose argv is an array of 32-bit pointers.
    fn failures_of_32_bit_code(&mut self) {
        Abi::Compat.enter();
        let path = self.root.join("absent");
        let (file, word) = (c_path(&path), c_path("word"));
        let argv = Argument::words(&[file.low(), word.low(), 0]);
        let arguments = [file.as_ptr() as i64, argv.as_ptr() as i64, 0, 0, 0, 0];
        let refused = syscall(libc::SYS_execve, arguments);
        Abi::Native.enter();
        self.refused(&path, refused);
    }

    fn made_otherwise(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(&self.program);
        command.arg("exit");
        let argv: Vec<_> = self
            .argv()
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        self.spawned(command, json!({"exe": self.program, "argv": argv}), 7)?;
        self.empty_argv()?;
        self.sibling()?;
        self.detached()
    }

    /// Since 5.18, and in stable releases of older lines, the kernel puts one empty
    /// argument into an empty argv (execve(2)). The exit status is argc.
    fn empty_argv(&mut self) -> anyhow::Result<()> {
        let file = CString::new(self.program.as_os_str().as_bytes())?;
        let none: [*const libc::c_char; 1] = [std::ptr::null()];
        let work = || {
            // SAFETY: the path ends with a NUL and the array with a null pointer.
            unsafe { libc::execv(file.as_ptr(), none.as_ptr()) };
            NOT_EXECED
        };
        let child = fork(work)?;
        let status = wait(child)?;
        ensure!(libc::WIFEXITED(status), "it ended with {status:#x}");
        let arguments = libc::WEXITSTATUS(status);
        let argv = vec![OsString::new(); usize::try_from(arguments)?];
        let (who, exe) = (Who::child(child), self.program.clone());
        self.forked(Who::running(), child);
        self.became(who, &exe, &argv);
        self.ended(who, arguments, 0);
        Ok(())
    }

    /// clone3(2) with CLONE_PARENT: the child is a child of this process's parent.
    fn sibling(&mut self) -> anyhow::Result<()> {
        let mut arguments = [0u64; 8];
        arguments[0] = libc::CLONE_PARENT as u64;
        let (read, write) = rustix::pipe::pipe()?;
        // SAFETY: without CLONE_VM the child shares no memory, and it ends at once;
        // `arguments` outlives the call.
        let child = outcome(unsafe {
            libc::syscall(
                libc::SYS_clone3,
                arguments.as_ptr(),
                size_of_val(&arguments),
            )
        })
        .map_err(|errno| anyhow::anyhow!("clone3: {errno}"))?;
        if child == 0 {
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(3) };
        }
        drop(write);
        // The child has the other end, so the read returns at its end.
        rustix::io::read(&read, &mut [0; 1])?;
        let child = u32::try_from(child)?;
        self.forked(Who::running(), child);
        let who = Who {
            ppid: std::os::unix::process::parent_id(),
            ..Who::child(child)
        };
        self.ended(who, 3, 0);
        Ok(())
    }

    /// Forks twice, with a session of its own between, as a daemon does. The daemon
    /// outlives its parent.
    fn detached(&mut self) -> anyhow::Result<()> {
        let (told, tell) = rustix::pipe::pipe()?;
        let (from_daemon, holds) = rustix::pipe::pipe()?;
        let between = fork(|| {
            // SAFETY: setsid(2) takes nothing and is async-signal-safe in this forked
            // child.
            unsafe { libc::setsid() };
            let parent = rustix::process::getpid();
            // SAFETY: this process has one thread, and the child calls
            // async-signal-safe functions only.
            let child = unsafe { libc::fork() };
            if child > 0 {
                let _ = rustix::io::write(&tell, &child.to_ne_bytes());
                return 0;
            }
            // Until the parent has ended, and init or a subreaper has taken its place (prctl(2)).
            while rustix::process::getppid() == Some(parent) {
                // SAFETY: sched_yield(2) takes nothing and is async-signal-safe.
                unsafe { libc::sched_yield() };
            }
            let now = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
            let _ = rustix::io::write(&holds, &now.to_ne_bytes());
            5
        })?;
        wait(between)?;
        drop((tell, holds));
        let mut pid = [0; 4];
        rustix::io::read(&told, &mut pid)?;
        let daemon = u32::from_ne_bytes(pid);
        let mut reaper = [0; 4];
        rustix::io::read(&from_daemon, &mut reaper)?;
        // The daemon has the other end, so the read returns at its end.
        rustix::io::read(&from_daemon, &mut [0; 1])?;
        let parent = Who::child(between);
        self.forked(Who::running(), between);
        self.forked(parent, daemon);
        self.ended(parent, 0, 0);
        let orphan = Who {
            pid: daemon,
            tid: daemon,
            ppid: u32::from_ne_bytes(reaper),
        };
        self.ended(orphan, 5, 0);
        Ok(())
    }

    /// Threads are no processes; one that execs becomes the process's only one.
    fn threads(&mut self) -> anyhow::Result<()> {
        let threads: Vec<_> = (0..8).map(|_| std::thread::spawn(|| {})).collect();
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))?;
        }
        let mut child = Command::new(&self.program).arg("thread-exec").spawn()?;
        child.wait()?;
        let who = Who::child(child.id());
        self.forked(Who::running(), child.id());
        let program = self.program.clone();
        self.became(
            who,
            &program,
            &[program.clone().into(), "thread-exec".into()],
        );
        self.became(who, &program, &self.argv());
        self.ended(who, 7, 0);
        Ok(())
    }

    /// Processes whose two threads end at once, so that either can be the last.
    fn ends_at_once(&mut self) -> anyhow::Result<()> {
        for _ in 0..ENDS_AT_ONCE {
            let child = fork(|| end_with_a_thread().map_or(NOT_EXECED, |()| 0))?;
            let status = wait(child)?;
            ensure!(status == 0, "no thread was made: {status}");
            self.forked(Who::running(), child);
            let whoever = Who {
                tid: 0,
                ..Who::child(child)
            };
            self.ended(whoever, 0, 0);
        }
        Ok(())
    }

    fn storm(&mut self) -> anyhow::Result<()> {
        let storm = match std::env::var(STORM_VARIABLE) {
            Ok(number) => number.parse().context(STORM_VARIABLE)?,
            Err(_) => STORM,
        };
        for batch in 0..storm / STORM_AT_ONCE {
            let mut children = Vec::new();
            for number in 0..STORM_AT_ONCE {
                let code = i32::try_from((batch + number) % 200)?;
                children.push((fork(|| code)?, code));
            }
            for (child, code) in children {
                wait(child)?;
                self.forked(Who::running(), child);
                self.ended(Who::child(child), code, 0);
            }
        }
        Ok(())
    }
}
