//! `cargo xtask run`: records a command as a session and replays it, from
//! whatever state the machine is in.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::step::{self, Steps, say};
use crate::workspace;

/// A small example of an agent's work: it creates and edits files, uses a repository,
/// and cleans up. It stays in a temporary folder of its own, and below the guard's
/// limit.
const DEMONSTRATION: &str = include_str!("demonstration.sh");

/// Installs the BPF toolchain, builds, records, replays. The exit status is that of
/// the command, or 128 and the signal's number.
///
/// # Errors
///
/// A step before the command failed, or its replay.
pub(crate) fn command(words: &[OsString]) -> Result<ExitCode> {
    let mut steps = Steps::new(5);
    let recorder = build::recorder(&mut steps, Profile::Release)?;
    let state = workspace::target("demo-state");
    let demonstration = ["sh", "-c", DEMONSTRATION, "demonstration"].map(OsString::from);
    let (what, words) = if words.is_empty() {
        (
            "record a small demonstration".to_owned(),
            demonstration.as_slice(),
        )
    } else {
        (
            format!("record `{}`", words.join(OsStr::new(" ")).to_string_lossy()),
            words,
        )
    };
    if !step::is_root() {
        say("loading kernel programs needs root: the next two steps go through sudo");
    }
    let status = steps.run(&what, || record(&recorder, &state, words))?;
    let replayed = steps.run("replay it", || {
        step::run(
            step::as_root(&recorder)?
                .args(["replay", "last", "--state-dir"])
                .arg(&state),
        )
    });
    hand_back(&state)?;
    replayed?;
    Ok(exit_code(status))
}

fn record(recorder: &Path, state: &Path, words: &[OsString]) -> Result<ExitStatus> {
    // Ctrl-C is for the command; xtask continues, to replay it. A handler is used
    // because the command would inherit SIG_IGN.
    let interrupted = Arc::new(AtomicBool::new(false));
    let handler = signal_hook::flag::register(signal_hook::consts::SIGINT, interrupted)
        .context("catch SIGINT")?;
    let mut command = step::as_root(recorder)?;
    command
        .args(["run", "--state-dir"])
        .arg(state)
        .arg("--")
        .args(words);
    workspace::forget_libraries(&mut command);
    let status = command
        .status()
        .with_context(|| format!("start {}", recorder.display()));
    signal_hook::low_level::unregister(handler);
    status
}

/// Gives the files that root created under `target` to the owner of `target`, so that
/// `cargo clean` can remove them.
fn hand_back(state: &Path) -> Result<()> {
    if step::is_root() || !state.exists() {
        return Ok(());
    }
    let target = workspace::target("");
    let owner = target
        .metadata()
        .with_context(|| format!("read the owner of {}", target.display()))?;
    let owner = format!("{}:{}", owner.uid(), owner.gid());
    step::run(step::as_root("chown")?.arg("-R").arg(owner).arg(state))
}

/// The status as in a shell: that of the command, or 128 and the signal.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_status_is_the_commands_or_128_and_the_signal() -> Result<()> {
        let status = |script| Command::new("sh").args(["-c", script]).status();
        assert_eq!(exit_code(status("exit 7")?), ExitCode::from(7));
        assert_eq!(exit_code(status("kill -KILL $$")?), ExitCode::from(137));
        assert_eq!(exit_code(status("exit 0")?), ExitCode::SUCCESS);
        Ok(())
    }

    #[test]
    fn the_demonstration_succeeds_and_leaves_nothing() -> Result<()> {
        let here = tempfile::tempdir()?;
        let status = Command::new("sh")
            .args(["-c", DEMONSTRATION])
            .env("TMPDIR", here.path())
            .status()?;
        assert!(status.success());
        assert_eq!(std::fs::read_dir(here.path())?.count(), 0);
        Ok(())
    }
}
