//! Test programs: their tests, the groups of the tests, and one start of a program
//! with a time limit.
//!
//! Not here: the meaning of a program's output (`libtest`), and the use of the
//! results.

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

/// Time limit of a group, which takes a minute or two.
const LIMIT: Duration = Duration::from_secs(600);
/// Time limit of one test.
const LIMIT_ALONE: Duration = Duration::from_secs(300);
/// Time until a program that was asked to end is killed.
const GRACE: Duration = Duration::from_secs(20);

/// Tests of one file. They run in parallel with each other, and with no others.
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
    /// Prefix that makes the names unique among all programs; empty where modules do
    /// so.
    pub scope: String,
}

impl Group {
    /// The unique name of a test.
    pub(crate) fn shown(&self, test: &str) -> String {
        format!("{}{test}", self.scope)
    }
}

/// The groups of a program's tests, in the order of their names.
///
/// # Errors
///
/// It does not say which tests it has.
pub(crate) fn groups(program: &Artifact) -> Result<Vec<Group>> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    let whole = whole(program)?;
    for test in &whole.tests {
        let file = group_of(test);
        let name = file.unwrap_or(&whole.name).to_owned();
        let group = groups.entry(name.clone()).or_insert_with(|| Group {
            name,
            tests: Vec::new(),
            scope: file.map_or(whole.scope.clone(), |_| String::new()),
            ..whole.clone()
        });
        group.tests.push(test.clone());
    }
    Ok(groups.into_values().collect())
}

/// All tests of a program as one group, for tests that may run in parallel.
///
/// # Errors
///
/// As for [`groups`].
pub(crate) fn whole(program: &Artifact) -> Result<Group> {
    let mut command = Command::new(&program.path);
    command
        .args(["--list", "--format", "terse"])
        .current_dir(&program.package);
    Ok(Group {
        name: program.name.clone(),
        program: program.path.clone(),
        folder: program.package.clone(),
        tests: libtest::listed(&step::output(&mut command)?),
        scope: format!("{}::", program.name),
    })
}

/// The first two parts of `claim::file::test`, and of names in deeper modules.
fn group_of(test: &str) -> Option<&str> {
    let (module, _) = test.rsplit_once("::")?;
    let second = module.match_indices("::").nth(1);
    Some(second.map_or(module, |(end, _)| &module[..end]))
}

/// The user of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    Ours,
    /// Root, through sudo when xtask does not run as root.
    Root,
}

/// One start of a group's program.
pub(crate) struct Start<'a> {
    pub group: &'a Group,
    /// The tests to run.
    pub tests: &'a [String],
    /// Whether one test runs at a time; otherwise as many as there are cores.
    pub is_alone: bool,
    pub user: User,
    /// File in which the tests report skips.
    pub tally: &'a Path,
    /// File of the program's output.
    pub log: &'a Path,
}

/// How a start ended.
pub(crate) struct Ended {
    pub output: String,
    pub is_well: bool,
    pub took: Duration,
}

impl Start<'_> {
    /// Runs the program to its end or the time limit. The output goes to a file,
    /// because a daemon that a test left behind would keep a pipe open.
    ///
    /// # Errors
    ///
    /// The program cannot be started, or its log cannot be written.
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
            User::Root => root_env()?,
        };
        workspace::forget_libraries(&mut command);
        if let Some(path) = std::env::var_os("PATH") {
            // sudo sets its own PATH.
            let mut search = std::ffi::OsString::from("PATH=");
            search.push(path);
            command.arg(search);
        }
        let limit = if self.is_alone { LIMIT_ALONE } else { LIMIT };
        command
            .arg(format!("AGENT_RECORDER_TALLY={}", self.tally.display()))
            // cargo's search path for tests, with xtask's own entries.
            .arg(format!(
                "CARGO_MANIFEST_DIR={}",
                self.group.folder.display()
            ))
            // timeout(1) runs the program in a process group of its own, and ends the
            // group.
            .arg("timeout")
            .arg(format!("--kill-after={}", GRACE.as_secs()))
            .arg(limit.as_secs().to_string())
            .arg(&self.group.program)
            .args(["--color", "never", "--exact"])
            .args(self.tests);
        if self.is_alone {
            command.args(["--test-threads", "1"]);
        }
        Ok(command)
    }
}

/// env(1) as root, with xtask's environment.
fn root_env() -> Result<Command> {
    let mut command = step::as_root("env")?;
    if !step::is_root() {
        command = Command::new("sudo");
        command.args(["-E", "env"]);
    }
    Ok(command)
}

/// An empty folder for logs.
///
/// # Errors
///
/// The files of an earlier run cannot be removed.
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

    #[test]
    fn tests_without_a_module_have_their_programs_name_and_those_of_files_their_own() -> Result<()>
    {
        let folder = tempfile::tempdir()?;
        let path = script(
            "printf 'a::b::x: test\\ny: test\\na::b::z: test\\n'",
            folder.path(),
        )?;
        let program = Artifact {
            kind: "test".into(),
            name: "e2e".into(),
            is_test: true,
            package: folder.path().to_owned(),
            path,
        };
        let groups = groups(&program)?;
        let names: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names, ["a::b", "e2e"]);
        assert_eq!(groups[0].tests, ["a::b::x", "a::b::z"]);
        assert_eq!(groups[0].shown("a::b::x"), "a::b::x");
        assert_eq!(groups[1].shown("y"), "e2e::y");
        let whole = whole(&program)?;
        assert_eq!(whole.tests.len(), 3);
        assert_eq!(whole.shown("a::b::x"), "e2e::a::b::x");
        Ok(())
    }

    fn script(script: &str, folder: &Path) -> Result<PathBuf> {
        let program = folder.join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, executable)?;
        Ok(program)
    }

    fn start(text: &str, folder: &Path) -> Result<Ended> {
        let program = script(text, folder)?;
        let group = Group {
            name: "a".into(),
            program,
            folder: folder.to_owned(),
            tests: vec!["x".into()],
            scope: String::new(),
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
