//! Removes files by a path that another thread changes all the time: the missing file
//! is the truth, whatever the path was when it was read.
//!
//! `stimulus swap DIRECTORY ROUNDS` works on `a/file` and `b/file` there, by a path
//! in its memory that one of its threads rewrites. `stimulus swap DIRECTORY ROUNDS
//! LINK` names the file through a symbolic link to `a` or `b`, which another process
//! changes.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use agent_recorder_tests::stimuli::{Script, outcome};
use anyhow::{Context as _, ensure};
use serde_json::json;

const USAGE: &str = "stimulus swap DIRECTORY ROUNDS [LINK]";

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let mut words = words.iter();
    let root = PathBuf::from(words.next().context(USAGE)?);
    let rounds = words.next().context(USAGE)?;
    let rounds: usize = rounds.to_str().context(USAGE)?.parse()?;
    for directory in ["a", "b"] {
        std::fs::create_dir(root.join(directory))?;
    }
    let script = match words.next() {
        Some(link) => remove(&root, &bytes_of(&root.join(link).join("file")), rounds)?,
        None => remove_by_changing_bytes(&root, rounds)?,
    };
    Ok(script.tell()?)
}

/// A path that can be changed while the kernel reads it.
fn bytes_of(path: &Path) -> Vec<AtomicU8> {
    let bytes = path.as_os_str().as_bytes().iter().chain(b"\0");
    bytes.map(|&byte| AtomicU8::new(byte)).collect()
}

fn remove_by_changing_bytes(root: &Path, rounds: usize) -> anyhow::Result<Script> {
    let path = bytes_of(&root.join("a/file"));
    let letter = &path[root.as_os_str().len() + 1];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // One store a round: an emulated CPU is interrupted between rounds only.
            for turn in [b'a', b'b'].into_iter().cycle() {
                letter.store(turn, Ordering::Relaxed);
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let script = remove(root, &path, rounds);
        done.store(true, Ordering::Relaxed);
        script
    })
}

fn remove(root: &Path, path: &[AtomicU8], rounds: usize) -> anyhow::Result<Script> {
    let mut script = Script::default();
    let files = ["a", "b"].map(|directory| root.join(directory).join("file"));
    for _ in 0..rounds {
        for file in &files {
            if !file.exists() {
                std::fs::write(file, "")?;
                let shown = file.display().to_string();
                script.did("file", json!({"op": "CREATE", "path": shown}), Ok(0));
            }
        }
        let inodes = [files[0].metadata()?.ino(), files[1].metadata()?.ino()];
        // SAFETY: the bytes end with a NUL, and whichever letter the kernel sees, it is a path.
        let removed = outcome(i64::from(unsafe { libc::unlink(path.as_ptr().cast()) }));
        ensure!(removed.is_ok(), "unlink: {removed:?}");
        let gone = usize::from(files[0].exists());
        ensure!(!files[gone].exists(), "both are there still");
        let truth = json!({
            "op": "DELETE",
            "path": files[gone].display().to_string(),
            "ino": inodes[gone],
            "pathSource": "KERNEL",
        });
        script.did("file", truth, removed);
    }
    Ok(script)
}
