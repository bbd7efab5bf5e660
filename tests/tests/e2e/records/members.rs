//! The members of a session, their pids, and the time of their membership.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Command;

use agent_recorder::record::proto::{self, record::Body};
use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::lab::wait::wait_for;
use agent_recorder_tests::lab::worker::Worker;
use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::STIMULUS;

const NOBODY: u32 = 65534;

/// The records of created files whose path contains `name`.
fn made<'a>(records: &'a [Value], name: &str) -> Vec<&'a Value> {
    let is_it = |record: &&Value| {
        record["file"]["op"] == "CREATE"
            && record["file"]["path"]
                .as_str()
                .is_some_and(|path| path.contains(name))
    };
    records.iter().filter(is_it).collect()
}

/// K4
#[test]
fn processes_of_one_number_are_told_apart() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path().join("made");
    fs::create_dir(&folder)?;
    let output = recorder.run([STIMULUS.as_ref(), "reuse".as_ref(), folder.as_os_str()])?;
    ensure!(output.status.success(), "{output:?}");
    let number: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
    let records = recorder.replay()?;
    let made = made(&records, "/made/");
    assert_eq!(made.len(), 50);
    assert!(made.iter().all(|it| it["process"]["pid"] == number));
    let starts: BTreeSet<_> = made
        .iter()
        .filter_map(|it| it["process"]["startTimeNs"].as_u64())
        .collect();
    assert_eq!(starts.len(), 50, "one start time a process");
    let forks = records.iter().filter_map(|it| it.get("fork"));
    let forks: BTreeSet<_> = forks
        .filter(|fork| fork["childPid"] == number)
        .filter_map(|fork| fork["childStartTimeNs"].as_u64())
        .collect();
    assert_eq!(forks.len(), 51);
    assert!(forks.is_superset(&starts));
    let exits = records.iter().filter(|it| it.get("exit").is_some());
    let exits = exits.filter(|it| it["process"]["pid"] == number);
    assert_eq!(exits.count(), 51);
    Ok(())
}

/// E8, K4: the pid of a member that has ended belongs to no member, whichever process
/// has it next.
#[test]
fn who_has_the_number_of_a_dead_member_is_left_alone() -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let mut command = daemon.command("run")?;
    let script = "true & echo $!; wait; read -r _; sleep 600";
    command.args(["--", "sh", "-c", script]);
    let mut session = Worker::start(command)?;
    let number = session.answer()?.trim().to_owned();
    wait_for("the member to end", || {
        Ok((!fs::exists(format!("/proc/{number}"))?).then_some(()))
    })?;
    let mut command = Command::new(STIMULUS);
    command.args(["reuse", "as", &number]);
    let mut outsider = Worker::start(command)?;
    assert_eq!(outsider.answer()?, "there\n");
    let killed = daemon.command("kill")?.arg("last").output()?;
    assert!(killed.status.success(), "{killed:?}");
    assert_eq!(session.process.wait()?.code(), Some(128 + 9));
    writeln!(outsider.orders)?;
    assert_eq!(outsider.answer()?, "lives\n");
    outsider.end()?;
    let records = daemon.last_session()?;
    let number: u64 = number.parse()?;
    let of_number = records.iter().filter(|it| it["process"]["pid"] == number);
    let starts: BTreeSet<_> = of_number
        .filter_map(|it| it["process"]["startTimeNs"].as_u64())
        .collect();
    assert_eq!(starts.len(), 1, "of the member only");
    daemon.stop()?;
    Ok(())
}

/// K7
#[test]
fn a_session_ends_with_its_last_member() -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let scratch = tempfile::tempdir()?;
    let (go, late) = (scratch.path().join("go"), scratch.path().join("late"));
    let script = r#"(setsid sh -c 'until [ -e "$1" ]; do :; done; : > "$2"' sh "$1" "$2" &)
        echo left"#;
    let mut command = daemon.command("run")?;
    command
        .args(["--", "sh", "-c", script, "sh"])
        .args([&go, &late]);
    let mut session = Worker::start(command)?;
    assert_eq!(session.answer()?, "left\n");
    // The shell, and the process that it forked to start the other.
    let is_exit = |it: &&proto::Record| matches!(it.body, Some(Body::Exit(_)));
    wait_for("the first process to end", || {
        Ok((daemon.stored()?.iter().filter(is_exit).count() >= 2).then_some(()))
    })?;
    let listed = daemon.command("sessions")?.output()?;
    let listed = String::from_utf8(listed.stdout)?;
    assert_eq!(listed.lines().count(), 2, "a heading and it: {listed}");
    fs::write(&go, "")?;
    session.end()?;
    let records = daemon.last_session()?;
    let place = |what: &str, is_it: &dyn Fn(&Value) -> bool| {
        let found = records.iter().rposition(is_it);
        found.with_context(|| format!("no {what}: {records:#?}"))
    };
    let created = place("late file", &|it| {
        it["file"]["op"] == "CREATE" && it["file"]["path"] == late.to_string_lossy().as_ref()
    })?;
    let exit = place("exit", &|it| it.get("exit").is_some())?;
    let end = place("end", &|it| it.get("sessionEnd").is_some())?;
    assert!(created < exit && exit < end, "{created} {exit} {end}");
    daemon.stop()?;
    Ok(())
}

/// K17, as far as it is recorded: the user of each process when it acts.
#[test]
fn who_becomes_somebody_else_is_recorded_as_that() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path().join("made");
    fs::create_dir(&folder)?;
    std::os::unix::fs::chown(&folder, Some(NOBODY), Some(NOBODY))?;
    std::os::unix::fs::chown(scratch.path(), Some(NOBODY), Some(NOBODY))?;
    let output = recorder.run([
        "setpriv".as_ref(),
        "--reuid=65534".as_ref(),
        "--regid=65534".as_ref(),
        "--clear-groups".as_ref(),
        "sh".as_ref(),
        "-c".as_ref(),
        ": > \"$0/file\"".as_ref(),
        folder.as_os_str(),
    ])?;
    ensure!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    let first = records.iter().find(|it| it.get("exec").is_some());
    assert_eq!(first.context("no exec")?["process"]["uid"], 0);
    let made = made(&records, "/made/");
    assert_eq!(made.len(), 1);
    assert_eq!(made[0]["process"]["uid"], NOBODY);
    Ok(())
}

/// K24: records have the numbers that the host knows processes by.
#[test]
fn processes_with_one_number_in_two_namespaces_have_their_own_in_records() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let folder = scratch.path().join("made");
    fs::create_dir(&folder)?;
    let script = r#"for n in 1 2; do
            unshare -pf sh -c ': > "$0"; echo $$ > "$0.told"' "$1/$n" &
        done; wait"#;
    let words = ["sh", "-c", script, "sh"].map(std::ffi::OsStr::new);
    let output = recorder.run(words.into_iter().chain([folder.as_os_str()]))?;
    ensure!(output.status.success(), "{output:?}");
    let inside = |n: &str| fs::read_to_string(folder.join(n).with_extension("told"));
    assert_eq!((inside("1")?.trim(), inside("2")?.trim()), ("1", "1"));
    let records = recorder.replay()?;
    let numbers: BTreeSet<_> = made(&records, "/made/")
        .iter()
        .filter_map(|it| it["process"]["pid"].as_u64())
        .collect();
    assert_eq!(numbers.len(), 2, "{numbers:?}");
    let forked: BTreeSet<_> = records
        .iter()
        .filter_map(|it| it["fork"]["childPid"].as_u64())
        .collect();
    assert!(forked.is_superset(&numbers), "{numbers:?} of {forked:?}");
    Ok(())
}

/// K15
#[test]
fn a_run_inside_a_session_is_part_of_it_and_ends_with_its_command() -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let scratch = tempfile::tempdir()?;
    let made = scratch.path().join("made-inside");
    let inner = daemon.command("run")?;
    let output = daemon
        .command("run")?
        .arg("--")
        .arg(inner.get_program())
        .args(inner.get_args())
        .args(["--", "touch"])
        .arg(&made)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    assert!(String::from_utf8(output.stderr)?.contains("part of session"));
    let sessions = daemon.sessions()?;
    assert_eq!(sessions.len(), 1, "the inner run began no session");
    let records = daemon.ended_session(&sessions[0].to_string())?;
    assert_eq!(self::made(&records, "/made-inside").len(), 1);
    Ok(())
}
