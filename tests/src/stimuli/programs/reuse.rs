//! Gives a process the pid of an earlier one.
//!
//! `stimulus reuse DIRECTORY` prints a pid, and gives it to several children one
//! after the other, each of which creates a file. `stimulus reuse as PID` has one
//! child of that pid, and reports for each line of its input whether the child lives.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use agent_recorder_tests::stimuli::outcome;
use anyhow::{Context as _, ensure};

const CHILDREN: usize = 50;

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let mut words = words.iter();
    let first = words.next().context("stimulus reuse DIRECTORY")?;
    if first == "as" {
        let pid = words.next().context("stimulus reuse as PID")?;
        let pid = pid.to_str().context("a number")?.parse()?;
        return stay(pid);
    }
    let directory = PathBuf::from(first);
    let number = fork_as(0, || 0)?;
    ended(number)?;
    for child in 0..CHILDREN {
        let path = file(&directory, child)?;
        let make = || {
            // SAFETY: the path ends with a NUL, and open(2) is async-signal-safe.
            unsafe { libc::open(path.as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o600) };
            0
        };
        ensure!(fork_as(number, make)? == number);
        ended(number)?;
    }
    println!("{number}");
    Ok(())
}

fn file(directory: &Path, number: usize) -> anyhow::Result<CString> {
    let path = directory.join(number.to_string());
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

fn stay(pid: i32) -> anyhow::Result<()> {
    fork_as(pid, || {
        // SAFETY: the call takes nothing.
        unsafe { libc::pause() };
        0
    })?;
    println!("there");
    for line in std::io::stdin().lines() {
        line?;
        // SAFETY: no status is asked for.
        let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
        println!("{}", if waited == 0 { "lives" } else { "ended" });
    }
    // SAFETY: the call takes two numbers.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    ended(pid)
}

/// clone3(2) with `set_tid`: the child has this number, or any for 0.
fn fork_as(pid: i32, work: impl FnOnce() -> i32) -> anyhow::Result<i32> {
    // SAFETY: all-zero is a valid `clone_args`.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.exit_signal = libc::SIGCHLD as u64;
    if pid != 0 {
        arguments.set_tid = &raw const pid as u64;
        arguments.set_tid_size = 1;
    }
    let size = size_of::<libc::clone_args>();
    // SAFETY: the process has one thread, and the child calls async-signal-safe
    // functions only.
    let child = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size) };
    if child == 0 {
        let code = work();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(code) };
    }
    let child = outcome(child).map_err(|errno| anyhow::anyhow!("clone3 for {pid}: {errno}"))?;
    Ok(i32::try_from(child)?)
}

fn ended(pid: i32) -> anyhow::Result<()> {
    // SAFETY: no status is asked for.
    let waited = unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    outcome(i64::from(waited)).map_err(|errno| anyhow::anyhow!("waitpid: {errno}"))?;
    Ok(())
}
