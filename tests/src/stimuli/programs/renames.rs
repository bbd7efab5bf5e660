//! Renames files of a directory over existing ones and to free names, in one way:
//! `stimulus renames DIRECTORY syscall|compat|io_uring`.
//!
//! The directory has for each rename a file of its first name.

use std::ffi::OsString;
use std::path::Path;

use agent_recorder_tests::stimuli::{Abi, Outcome, c_path, named, syscall};
use anyhow::{Context as _, bail};
use io_uring::{IoUring, opcode, types};

const CWD: i64 = libc::AT_FDCWD as i64;
/// From, to, flags.
const RENAMES: [(&str, &str, u32); 5] = [
    ("over.from", "over.to", 0),
    ("free.from", "free.to", 0),
    ("exchanged.from", "exchanged.to", libc::RENAME_EXCHANGE),
    ("kept.from", "kept.to", libc::RENAME_NOREPLACE),
    ("refused.from", "refused.to", libc::RENAME_NOREPLACE),
];

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let [directory, way] = words else {
        bail!("stimulus renames DIRECTORY WAY");
    };
    if way == "compat" {
        Abi::Compat.enter();
    }
    for (from, to, flags) in RENAMES {
        let (from, to) = (
            Path::new(directory).join(from),
            Path::new(directory).join(to),
        );
        let result = if way == "io_uring" {
            by_ring(&from, &to, flags)?
        } else {
            by_call(&from, &to, flags)
        };
        let expected = if from.ends_with("refused.from") {
            Err("EEXIST")
        } else {
            Ok(0)
        };
        anyhow::ensure!(result == expected, "{}: {result:?}", from.display());
    }
    Ok(())
}

fn by_call(from: &Path, to: &Path, flags: u32) -> Outcome {
    let (from, to) = (c_path(from), c_path(to));
    let (from, to) = (from.as_ptr() as i64, to.as_ptr() as i64);
    syscall(
        libc::SYS_renameat2,
        [CWD, from, CWD, to, i64::from(flags), 0],
    )
}

fn by_ring(from: &Path, to: &Path, flags: u32) -> anyhow::Result<Outcome> {
    let (from, to) = (c_path(from), c_path(to));
    let cwd = types::Fd(libc::AT_FDCWD);
    let entry = opcode::RenameAt::new(cwd, from.as_ptr().cast(), cwd, to.as_ptr().cast());
    let mut ring = IoUring::new(1)?;
    // SAFETY: the paths are `Argument`s, which are never freed.
    unsafe { ring.submission().push(&entry.flags(flags).build())? };
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().context("a completion")?;
    Ok(match done.result() {
        0.. => Ok(0),
        error => Err(named(error.unsigned_abs())),
    })
}
