//! Walks down a chain of directories of one name, and acts there on paths whose whole
//! name no call can take.
//!
//! `stimulus deep DIRECTORY NAME LEVELS`; the directory has a file `above`, which is
//! moved down and up again.

use std::ffi::OsString;
use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

const USAGE: &str = "stimulus deep DIRECTORY NAME LEVELS";
/// The argument of the program that was started at the bottom: it exits at once.
const STARTED: &str = "started";
/// More than a call takes (PATH_MAX, 4,096 bytes).
const TOO_LONG: usize = 4200;

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    if matches!(words, [word] if word == STARTED) {
        return Ok(());
    }
    let [top, name, levels] = words else {
        bail!(USAGE);
    };
    let levels: usize = levels.to_str().context(USAGE)?.parse()?;
    let this = std::env::current_exe()?;
    std::env::set_current_dir(top)?;
    for _ in 0..levels {
        std::env::set_current_dir(name)?;
    }
    fs::write("leaf", "")?;
    fs::remove_file("leaf")?;
    programs(&this)?;
    names(Path::new(top))?;
    sockets()
}

fn programs(this: &Path) -> anyhow::Result<()> {
    fs::copy(this, "program")?;
    let status = Command::new("./program").args(["deep", STARTED]).status()?;
    anyhow::ensure!(status.success(), "{status}");
    fs::remove_file("program")?;
    // exec(3) returns only when it fails.
    let absent = Command::new("./absent").exec();
    anyhow::ensure!(
        absent.raw_os_error() == Some(libc::ENOENT),
        "./absent: {absent}"
    );
    let long = Command::new(too_long()).exec();
    anyhow::ensure!(
        long.raw_os_error() == Some(libc::ENAMETOOLONG),
        "a long name: {long}"
    );
    Ok(())
}

/// Renames and links: the old path, the new path or both are deep.
fn names(top: &Path) -> anyhow::Result<()> {
    fs::write("first", "")?;
    fs::rename("first", "renamed")?;
    fs::hard_link("renamed", "linked")?;
    fs::rename(top.join("above"), "moved down")?;
    fs::rename("moved down", top.join("moved up"))?;
    let refused = std::os::unix::fs::symlink(too_long(), "soft");
    anyhow::ensure!(refused.is_err(), "a symbolic link can be as long");
    fs::remove_file("renamed")?;
    fs::remove_file("linked")?;
    Ok(())
}

fn too_long() -> OsString {
    // An absolute path of short names: only its whole length is refused.
    "/l".repeat(TOO_LONG / 2).into()
}

/// Listens and connects at a name of the hand-off policy.
fn sockets() -> anyhow::Result<()> {
    let _listener = UnixListener::bind("docker.sock")?;
    UnixStream::connect("docker.sock")?;
    Ok(fs::remove_file("docker.sock")?)
}
