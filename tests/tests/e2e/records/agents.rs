//! An agent is recognised by program, script, environment or configuration, whether
//! it started before the daemon or after.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agent_recorder_tests::lab::daemon::{Daemon, Record};
use agent_recorder_tests::lab::host;
use agent_recorder_tests::lab::wait::wait_for;
use tempfile::TempDir;

/// A shell of another name, in a directory of its own: `name` may have folders.
fn shell_named(directory: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = directory.join(name);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::copy("/bin/sh", &path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

fn started(records: &[Record]) -> Vec<(&str, &str)> {
    records
        .iter()
        .filter_map(|record| record.session_start.as_ref())
        .map(|start| (start.agent.as_str(), start.rule.as_str()))
        .collect()
}

fn created(records: &[Record]) -> BTreeSet<&str> {
    records
        .iter()
        .filter_map(|record| record.file.as_ref())
        .filter(|file| file.op == "CREATE")
        .map(|file| file.path.as_str())
        .collect()
}

/// Starts a daemon, runs the commands, and returns the records.
fn recorded(configuration: &str, commands: &mut [Command]) -> anyhow::Result<Vec<Record>> {
    let daemon = Daemon::start_with(configuration)?;
    for command in commands {
        let status = command.env_remove("CLAUDECODE").status()?;
        anyhow::ensure!(status.success(), "{command:?}: {status}");
    }
    daemon.finish()
}

#[test]
fn an_agent_is_known_by_its_program_its_script_or_its_environment() -> anyhow::Result<()> {
    let _host = host::alone();
    let directory = TempDir::new()?;
    let by_program = directory.path().join("by_program");
    let by_script = directory.path().join("by_script");
    let by_environment = directory.path().join("by_environment");
    let detached = directory.path().join("detached");
    let mut first = Command::new(shell_named(directory.path(), "codex")?);
    // The detached process is two generations further, without its parent.
    first.arg("-c").arg(format!(
        ": > {}; (setsid sh -c ': > {}' &)",
        by_program.display(),
        detached.display()
    ));
    let script = directory.path().join("lib/claude-code/cli.js");
    std::fs::create_dir_all(directory.path().join("lib/claude-code"))?;
    std::fs::write(&script, format!(": > {}", by_script.display()))?;
    let mut second = Command::new("sh");
    second.arg(&script);
    let mut third = Command::new("env");
    third.args(["GEMINI_CLI=1", "sh", "-c"]);
    third.arg(format!(": > {}", by_environment.display()));
    let records = recorded("", &mut [first, second, third])?;
    assert_eq!(
        started(&records),
        [
            ("codex", "executable:codex"),
            ("claude-code", "script:claude-code/cli.js"),
            ("gemini-cli", "environment:GEMINI_CLI=1"),
        ]
    );
    let created = created(&records);
    for path in [&by_program, &by_script, &by_environment, &detached] {
        let shown = path.display().to_string();
        assert!(created.contains(shown.as_str()), "{shown}: {created:?}");
    }
    Ok(())
}

#[test]
fn rules_are_added_and_taken_away_by_configuration() -> anyhow::Result<()> {
    let _host = host::alone();
    let directory = TempDir::new()?;
    let script = ": > /dev/null";
    let mut ours = Command::new(shell_named(directory.path(), "our-agent")?);
    let mut codex = Command::new(shell_named(directory.path(), "codex")?);
    let mut nobody = Command::new(shell_named(directory.path(), "codex-helper")?);
    ours.args(["-c", script]);
    codex.args(["-c", script]);
    nobody.args(["-c", script]);
    let configuration = "[agents]\ndisable = [\"codex\"]\n\
        [[agent]]\nname = \"ours\"\nexecutables = [\"our-agent\"]\n";
    let records = recorded(configuration, &mut [codex, nobody, ours])?;
    assert_eq!(started(&records), [("ours", "executable:our-agent")]);
    Ok(())
}

/// Forks a child for each line that it reads; the child creates the file that the line names.
const LOOP: &str = "while read -r name; do (: > \"$name\"); echo done; done";

struct Agent {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Agent {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let mut process = Command::new(program)
            .args(["-c", LOOP])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = process.stdout.take().map(BufReader::new);
        let answers = answers.ok_or_else(|| anyhow::anyhow!("no standard output"))?;
        Ok(Self { process, answers })
    }

    fn create(&mut self, path: &Path) -> anyhow::Result<()> {
        let stdin = self.process.stdin.as_mut();
        let stdin = stdin.ok_or_else(|| anyhow::anyhow!("no standard input"))?;
        writeln!(stdin, "{}", path.display())?;
        self.answers.read_line(&mut String::new())?;
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<()> {
        drop(self.process.stdin.take());
        anyhow::ensure!(self.process.wait()?.success());
        Ok(())
    }
}

#[test]
fn an_agent_that_ran_before_the_daemon_is_adopted_with_its_descendants() -> anyhow::Result<()> {
    let _host = host::alone();
    let directory = TempDir::new()?;
    let program = shell_named(directory.path(), "claude")?;
    let mut agent = Agent::start(&program)?;
    // A neighbour, no agent.
    let mut plain = Agent::start(Path::new("/bin/sh"))?;
    let before = directory.path().join("before");
    agent.create(&before)?;
    let daemon = Daemon::start()?;
    assert_eq!(
        daemon.records()?.len(),
        1,
        "its start is told of though it is idle"
    );
    let after: Vec<_> = (0..20)
        .map(|number| directory.path().join(format!("after{number}")))
        .collect();
    for path in &after {
        agent.create(path)?;
    }
    let foreign = directory.path().join("foreign");
    plain.create(&foreign)?;
    agent.end()?;
    plain.end()?;
    let records = daemon.finish()?;
    assert_eq!(started(&records), [("claude-code", "executable:claude")]);
    let mut starts = records
        .iter()
        .filter_map(|record| record.session_start.as_ref());
    assert!(starts.all(|start| start.origin == "ADOPTED"));
    let expected: Vec<String> = after
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(created(&records), expected);
    Ok(())
}

/// The agent's children fork and end at once, so the writing process has lost its parent.
#[test]
fn an_agent_that_forks_all_the_while_is_adopted_without_a_gap() -> anyhow::Result<()> {
    let _host = host::alone();
    let directory = TempDir::new()?;
    let program = shell_named(directory.path(), "claude")?;
    let go = directory.path().join("go");
    std::fs::write(&go, "")?;
    let script = "n=0; while [ -e go ]; do n=$((n + 1)); (sh -c \": > chain.$n\" &); done";
    let mut agent = Command::new(&program)
        .args(["-c", script])
        .current_dir(directory.path())
        .spawn()?;
    let daemon = Daemon::start()?;
    let ready = highest(directory.path())?;
    wait_for("twenty more links of the chain", || {
        Ok((highest(directory.path())? >= ready + 20).then_some(()))
    })?;
    std::fs::remove_file(&go)?;
    agent.wait()?;
    let records = daemon.finish()?;
    let recorded = created(&records);
    let last = highest(directory.path())?;
    for number in ready + 1..=last {
        let path = directory.path().join(format!("chain.{number}"));
        let shown = path.display().to_string();
        // Processes end in any order: one may still be at work.
        assert!(
            recorded.contains(shown.as_str()) || !path.exists(),
            "{shown} of {ready}..={last}"
        );
    }
    Ok(())
}

/// The highest number that was written so far.
fn highest(directory: &Path) -> anyhow::Result<u64> {
    let mut highest = 0;
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("chain."));
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            highest = highest.max(number);
        }
    }
    Ok(highest)
}
