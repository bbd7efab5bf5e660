//! Removes the files of a directory, each in a child of its own that starts no
//! other program: `stimulus forks DIRECTORY`.

use std::ffi::{CString, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use anyhow::{Context as _, ensure};

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let directory = words.first().context("stimulus forks DIRECTORY")?;
    for entry in fs::read_dir(directory)? {
        let path = CString::new(entry?.path().as_os_str().as_bytes())?;
        // SAFETY: the process has one thread; the child makes two calls and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: the path ends with a NUL byte.
            unsafe { libc::_exit(libc::unlink(path.as_ptr())) };
        }
        ensure!(child > 0, "fork: {}", std::io::Error::last_os_error());
        // SAFETY: the child is this process's; its status is not asked for.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    }
    Ok(())
}
