//! Runs one case and counts the remaining files.
//! Not here: the cases, the tables.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use agent_recorder_tests::lab::recorder::Recorder;
use anyhow::{Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::case::Case;

/// Directories, and files in each.
const DIRECTORIES: usize = 50;
const FILES: usize = 100;
/// Number of all files.
pub(crate) const ALL: usize = DIRECTORIES * FILES;
/// Variable in the environment of every process of a case.
const MARK: &str = "AGENT_RECORDER_GUARD_REPORT";
/// Limit of a case: a longer one is ended with an error.
const MOST: Duration = Duration::from_secs(600);

/// The means that all cases share.
pub(crate) struct Stage {
    /// Where the directories `W` are made: no temporary directory.
    pub(crate) place: PathBuf,
    /// The guard's short window, if not the default one.
    pub(crate) window: Option<String>,
    /// Programs from npm.
    pub(crate) tools: TempDir,
    /// Held during an installation.
    pub(crate) installing: Mutex<()>,
    /// The program of `destroy.c`.
    pub(crate) destroy: PathBuf,
    pub(crate) uring: PathBuf,
}

/// How a case went.
pub(crate) enum Outcome {
    /// Something that it needs is not there.
    NotRun(String),
    Ran(Ran),
}

pub(crate) struct Ran {
    /// Files whose contents are gone.
    pub(crate) destroyed: usize,
    /// The guard's verdict, if any.
    pub(crate) verdict: Option<Verdict>,
    /// Processes of the session that were there after it.
    pub(crate) survivors: usize,
    /// Files that the guard counted.
    pub(crate) counted: u64,
    /// Exit status of the session's program.
    pub(crate) status: Option<i32>,
    pub(crate) took: Duration,
    /// Whether requests of io_uring are seen here.
    pub(crate) sees_requests: bool,
    /// The last line of its output.
    pub(crate) said: String,
}

pub(crate) struct Verdict {
    pub(crate) policy: String,
    /// Time from the limit to the last death, ms.
    pub(crate) death: Option<f64>,
}

struct Folders {
    work: TempDir,
    scratch: TempDir,
}

impl Stage {
    /// Runs a case on files that were made for it, or in an empty directory.
    pub(crate) fn run(&self, case: &Case, with_files: bool) -> Result<Outcome> {
        if let Some(missing) = case.needs.iter().find(|program| !is_there(program)) {
            return Ok(Outcome::NotRun(format!("no {missing} here")));
        }
        if let Some((program, packages)) = case.tool
            && let Err(error) = self.install(program, packages)
        {
            return Ok(Outcome::NotRun(format!("{error:#}")));
        }
        let folders = Folders {
            work: TempDir::with_prefix_in("guard-report-", &self.place)?,
            scratch: tempfile::tempdir()?,
        };
        // Programs that drop their privileges must reach it.
        fs::set_permissions(folders.work.path(), fs::Permissions::from_mode(0o755))?;
        let files = folders.work.path().join("files");
        if with_files {
            make_files(&files)?;
        }
        let before = self.shell(&folders, case.before).output()?;
        if !before.status.success() {
            let said = String::from_utf8_lossy(&before.stderr);
            let _ = self.shell(&folders, case.after).output()?;
            return Ok(Outcome::NotRun(format!(
                "not to be set up: {}",
                ending(&said)
            )));
        }
        let ran = self.session(case, &folders);
        let after = self.shell(&folders, case.after).output()?;
        ensure!(after.status.success(), "{}: {after:?}", case.name);
        let mut ran = ran?;
        if with_files {
            let place = self.look_in(&folders, case);
            let mut intact = BTreeSet::new();
            find_intact(&place, &mut intact)?;
            ran.destroyed = ALL - intact.len();
        }
        let _ = self
            .shell(&folders, r#"for d in "$W"/* "$S"/*; do umount "$d" 2> /dev/null; done; test ! -e "$W/device" || losetup -d "$(cat "$W/device")""#)
            .output()?;
        let is_idle = ran.destroyed == 0 && ran.verdict.is_none() && ran.status != Some(0);
        Ok(if with_files && is_idle {
            Outcome::NotRun(format!("it destroys nothing here: {}", ran.said))
        } else {
            Outcome::Ran(ran)
        })
    }

    fn session(&self, case: &Case, folders: &Folders) -> Result<Ran> {
        let files = folders.work.path().join("files");
        let guard = case.guard.replace("@D@", &files.display().to_string());
        let window = match &self.window {
            Some(window) if !guard.contains("window") => format!("window = \"{window}\"\n"),
            _ => String::new(),
        };
        let recorder =
            Recorder::with_configuration(&format!("[guard]\naction = \"kill\"\n{window}{guard}"))?;
        let mut command = recorder.command("run")?;
        let most = MOST.as_secs().to_string();
        command.args(["--", "timeout", &most, "sh", "-c", case.script]);
        self.surround(&mut command, folders);
        let begun = Instant::now();
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(
            output.status.code() != Some(124),
            "{}: not over in {most} s",
            case.name
        );
        let took = begun.elapsed();
        let survivors = survivors(folders.work.path().as_os_str())?;
        let records = recorder.replay()?;
        let absent = recorder.absent_hooks()?;
        let said = String::from_utf8_lossy(&output.stderr);
        Ok(Ran {
            destroyed: 0,
            verdict: verdict(&records),
            counted: counted(&records),
            survivors,
            status: output.status.code(),
            took,
            sees_requests: !absent.iter().any(|hook| hook.starts_with("io_uring_")),
            said: ending(&said),
        })
    }

    fn shell(&self, folders: &Folders, script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        self.surround(&mut command, folders);
        command
    }

    fn surround(&self, command: &mut Command, folders: &Folders) {
        let work = folders.work.path();
        command
            .current_dir(work)
            .env(MARK, work)
            .env("D", work.join("files"))
            .env("W", work)
            .env("S", folders.scratch.path())
            .env("T", self.tools.path())
            .env("B", &self.destroy)
            .env("U", &self.uring)
            .env("GIT_AUTHOR_NAME", "n")
            .env("GIT_AUTHOR_EMAIL", "n@example.org")
            .env("GIT_COMMITTER_NAME", "n")
            .env("GIT_COMMITTER_EMAIL", "n@example.org");
    }

    fn look_in(&self, folders: &Folders, case: &Case) -> PathBuf {
        match case.look_in.split_once('/') {
            Some(("$S", rest)) => folders.scratch.path().join(rest),
            _ => folders.work.path().to_owned(),
        }
    }

    fn install(&self, program: &str, packages: &str) -> Result<()> {
        // A poisoned lock: another installation failed, which does not matter here.
        let _one = self
            .installing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let prefix = self.tools.path();
        if prefix.join("node_modules/.bin").join(program).exists() {
            return Ok(());
        }
        let output = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(prefix)
            .args(packages.split(' '))
            .output()?;
        ensure!(output.status.success(), "npm does not install {packages}");
        Ok(())
    }
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

fn contents(number: usize) -> String {
    format!("file {number} was made by somebody else\n").repeat(30)
}

fn make_files(directory: &Path) -> Result<()> {
    for number in 0..ALL {
        let folder = directory.join(format!("{:02}", number / FILES));
        if number % FILES == 0 {
            fs::create_dir_all(&folder)?;
        }
        fs::write(folder.join(format!("{number:04}.txt")), contents(number))?;
    }
    Ok(())
}

/// The numbers of the files whose contents are somewhere below, whatever their names.
fn find_intact(directory: &Path, intact: &mut BTreeSet<usize>) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let about = entry.metadata()?;
        if about.is_dir() {
            find_intact(&entry.path(), intact)?;
        } else if about.is_file() && about.len() < 4096 {
            let found = fs::read(entry.path())?;
            let number = std::str::from_utf8(&found)
                .ok()
                .and_then(|text| text.strip_prefix("file ")?.split(' ').next()?.parse().ok());
            if let Some(number) = number.filter(|number| found == contents(*number).as_bytes()) {
                intact.insert(number);
            }
        }
    }
    Ok(())
}

/// Processes that have the case's mark, and have not ended.
fn survivors(mark: &OsStr) -> Result<usize> {
    let mark = format!("{MARK}={}\0", mark.to_string_lossy());
    let mut count = 0;
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // The process can end meanwhile.
        let Ok(environment) = fs::read(path.join("environ")) else {
            continue;
        };
        let has = environment
            .windows(mark.len())
            .any(|window| window == mark.as_bytes());
        count += usize::from(has);
    }
    Ok(count)
}

fn verdict(records: &[Value]) -> Option<Verdict> {
    let said = records
        .iter()
        .find_map(|record| record.get("enforcement"))?;
    Some(Verdict {
        policy: said["policy"].as_str().unwrap_or("?").to_owned(),
        death: said["latencyNs"].as_f64().map(|ns| ns / 1e6),
    })
}

fn counted(records: &[Value]) -> u64 {
    records
        .iter()
        .find_map(|record| record.get("sessionEnd"))
        .and_then(|end| end["totals"]["guardCounted"].as_u64())
        .unwrap_or(0)
}

/// The last line.
fn ending(text: &str) -> String {
    let line = text.trim_end().lines().next_back().unwrap_or("");
    line.chars().take(160).collect()
}
