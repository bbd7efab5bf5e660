//! Test programs: which tests they hold, in which groups these run, and one
//! start of one, with a limit to its time.
//!
//! Not here: what a program's output means (`libtest`), and what is made of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::artifacts::Artifact;
use crate::libtest;
use crate::step;
use crate::workspace;

/// One group takes a minute or two; one that hangs ends here.
const LIMIT: Duration = Duration::from_secs(600);
/// How long what was told to end may take.
const GRACE: Duration = Duration::from_secs(20);

/// Tests of one file, which may run beside each other, and beside no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// `claim::file`, or the program where tests are in no module.
    pub name: String,
    /// The program's path.
    pub program: PathBuf,
    /// Where it runs.
    pub folder: PathBuf,
    /// The tests' names.
    pub tests: Vec<String>,
}

/// The groups of a program's tests, in the order of their names.
///
/// # Errors
///
/// It does not say which tests it has.
pub(crate) fn groups(program: &Artifact) -> Result<Vec<Group>> {
    let mut command = Command::new(&program.path);
    command
        .args(["--list", "--format", "terse"])
        .current_dir(&program.package);
    let tests = libtest::listed(&step::output(&mut command)?);
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for test in tests {
        let name = group_of(&test).unwrap_or(&program.name).to_owned();
        groups.entry(name).or_default().push(test);
    }
    let group = |(name, tests)| Group {
        name,
        program: program.path.clone(),
        folder: program.package.clone(),
        tests,
    };
    Ok(groups.into_iter().map(group).collect())
}

/// Of `claim::file::test` the first two, and of deeper modules, too.
fn group_of(test: &str) -> Option<&str> {
    let (module, _) = test.rsplit_once("::")?;
    let second = module.match_indices("::").nth(1);
    Some(second.map_or(module, |(end, _)| &module[..end]))
}

/// As whom a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Ours,
    /// Through sudo when we are not root.
    Root,
}

/// One start of a group's program.
pub(crate) struct Start<'a> {
    pub group: &'a Group,
    /// Which of its tests.
    pub tests: &'a [String],
    /// Nothing runs beside the first; otherwise as many as there are cores.
    pub is_alone: bool,
    pub user: User,
    /// Where the tests say that they skipped.
    pub tally: &'a Path,
    /// Where all that it prints is kept.
    pub log: &'a Path,
}

/// How a start ended.
pub(crate) struct Ended {
    pub output: String,
    pub is_well: bool,
    pub took: Duration,
}

impl Start<'_> {
    /// Runs it to its end, or to the limit's. What it prints goes into a file
    /// and not through a pipe, whose end a daemon that a test left behind would
    /// keep from us.
    ///
    /// # Errors
    ///
    /// It cannot be started, or its log not be kept.
    pub(crate) fn run(&self) -> Result<Ended> {
        let keep = || format!("keep {}", self.log.display());
        if let Some(folder) = self.log.parent() {
            fs::create_dir_all(folder).with_context(keep)?;
        }
        let log = File::create(self.log).with_context(keep)?;
        let mut command = self.command()?;
        command
            .current_dir(&self.group.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().with_context(keep)?)
            .stderr(log);
        step::dies_with_us(&mut command);
        let begun = Instant::now();
        let status = command
            .status()
            .with_context(|| format!("start `{}`", step::shown(&command)))?;
        let output = fs::read(self.log).with_context(keep)?;
        Ok(Ended {
            output: String::from_utf8_lossy(&output).into_owned(),
            is_well: status.success(),
            took: begun.elapsed(),
        })
    }

    fn command(&self) -> Result<Command> {
        let mut command = match self.user {
            User::Ours => Command::new("env"),
            User::Root => step::as_root("env")?,
        };
        if let Some(path) = std::env::var_os("PATH") {
            // sudo sets its own.
            let mut search = std::ffi::OsString::from("PATH=");
            search.push(path);
            command.arg(search);
        }
        command
            .arg(format!("AGENT_RECORDER_TALLY={}", self.tally.display()))
            // timeout(1) runs it in a process group of its own, and ends that.
            .arg("timeout")
            .arg(format!("--kill-after={}", GRACE.as_secs()))
            .arg(LIMIT.as_secs().to_string())
            .arg(&self.group.program)
            .args(["--color", "never", "--exact"])
            .args(self.tests);
        if self.is_alone {
            command.args(["--test-threads", "1"]);
        }
        Ok(command)
    }
}

/// A folder for logs, with nothing in it.
///
/// # Errors
///
/// What an earlier run left cannot be removed.
pub(crate) fn fresh_logs() -> Result<PathBuf> {
    let folder = workspace::target("test-logs");
    if let Err(error) = fs::remove_dir_all(&folder)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        bail!("remove {}: {error}", folder.display());
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// A log's name for a group or a test.
pub(crate) fn log_name(name: &str) -> String {
    format!("{}.log", name.replace("::", "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_a_file_of_tests() {
        assert_eq!(group_of("guard::policy::a"), Some("guard::policy"));
        assert_eq!(group_of("guard::policy::tests::a"), Some("guard::policy"));
        assert_eq!(group_of("policy::a"), Some("policy"));
        assert_eq!(group_of("a"), None);
    }

    fn start(script: &str, folder: &Path) -> Result<Ended> {
        let program = folder.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, executable)?;
        let group = Group {
            name: "a".into(),
            program,
            folder: folder.to_owned(),
            tests: vec!["x".into()],
        };
        let start = Start {
            group: &group,
            tests: &group.tests,
            is_alone: true,
            user: User::Ours,
            tally: Path::new("/dev/null"),
            log: &folder.join("logs/a.log"),
        };
        start.run()
    }

    #[test]
    fn a_start_keeps_both_outputs_and_the_status() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let ended = start("echo out; echo err >&2; echo \"$@\"; exit 3", folder.path())?;
        assert_eq!(
            ended.output,
            "out\nerr\n--color never --exact x --test-threads 1\n"
        );
        assert!(!ended.is_well);
        Ok(())
    }

    #[test]
    fn what_a_test_leaves_running_is_not_waited_for() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let ended = start("sleep 30 & echo $!", folder.path())?;
        assert!(ended.is_well && ended.took < Duration::from_secs(20));
        step::run(Command::new("kill").arg(ended.output.trim()))
    }
}
