//! The questions of an investigator to a store: one path, one kind, a session that
//! still runs.

use std::io::{Read as _, Seek as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use agent_recorder_tests::lab::child::ended_within;
use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::lab::wait::wait_for;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(60);

fn lines(output: &Output) -> anyhow::Result<Vec<Value>> {
    anyhow::ensure!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone())?
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

#[test]
fn who_shows_every_act_on_a_path_over_all_sessions() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    for script in ["echo a > file", "mv file other; mv other file", "rm file"] {
        let output = recorder
            .command("run")?
            .args(["--agent", "tester", "--", "sh", "-c", script])
            .current_dir(&directory)
            .output()?;
        assert!(output.status.success(), "{output:?}");
    }
    let path = directory.join("file");
    let mut who = recorder.command("who")?;
    let shown = lines(&who.arg(&path).args(["--format", "json"]).output()?)?;
    let acts: Vec<_> = shown
        .iter()
        .map(|record| record["file"]["op"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(acts, ["CREATE", "RENAME", "RENAME", "DELETE"]);
    // By a relative path from the directory itself.
    let mut who = recorder.command("who")?;
    let text = who.arg("./x/../file").current_dir(&directory).output()?;
    let text = String::from_utf8(text.stdout)?;
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.lines().all(|line| line.contains("tester")), "{text}");
    Ok(())
}

#[test]
fn a_replay_shows_only_what_was_asked_for() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let scratch = tempfile::tempdir()?;
    let directory = std::fs::canonicalize(scratch.path())?;
    let output = recorder
        .command("run")?
        .args([
            "--",
            "sh",
            "-c",
            "echo a > file; mkdir d; rm file; ls /nonexistent",
        ])
        .current_dir(&directory)
        .output()?;
    assert_eq!(output.status.code(), Some(2));
    let replay = |arguments: &[&str]| -> anyhow::Result<Vec<Value>> {
        let mut replay = recorder.command("replay")?;
        lines(&replay.args(["--format", "json"]).args(arguments).output()?)
    };
    let under = format!("{}/**", directory.display());
    let ops: Vec<_> = replay(&["--path", &under])?
        .iter()
        .map(|record| record["file"]["op"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(ops, ["CREATE", "MKDIR", "DELETE"]);
    let execs = replay(&["--kind", "exec"])?;
    assert_eq!(execs.len(), 4);
    let failed = replay(&[
        "--filter",
        "file.error == 'ENOENT' && file.path == '/nonexistent'",
    ])?;
    assert!(
        failed
            .iter()
            .all(|record| record["file"]["error"] == "ENOENT")
    );
    assert_eq!(replay(&["--until", "1h"])?.len(), 0);
    assert_eq!(replay(&["--since", "1h"])?.len(), replay(&[])?.len());
    Ok(())
}

#[test]
fn a_replay_follows_a_session_to_its_end() -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let mut session = daemon
        .command("run")?
        .args(["--", "sh", "-c", "read -r line; : > /dev/null; exit 3"])
        .stdin(Stdio::piped())
        .spawn()?;
    // It is in the spool once it is listed and its start was synced.
    wait_for("the session", || {
        Ok((!daemon.records()?.is_empty()).then_some(()))
    })?;
    // A file, because nothing would empty a pipe during the wait.
    let mut shown = tempfile::tempfile()?;
    let mut follow = daemon
        .command("replay")?
        .args(["--follow", "--format", "json"])
        .stdout(shown.try_clone()?)
        .spawn()?;
    wait_for("what there is to be shown", || {
        Ok((shown.metadata()?.len() > 0).then_some(()))
    })?;
    assert!(
        !ended_within(&follow, Duration::ZERO)?,
        "it does not follow"
    );
    drop(session.stdin.take());
    assert_eq!(session.wait()?.code(), Some(3));
    assert!(ended_within(&follow, LIMIT)?, "it outlives the session");
    assert!(follow.wait()?.success());
    let mut followed = String::new();
    shown.rewind()?;
    shown.read_to_string(&mut followed)?;
    let again = daemon
        .command("replay")?
        .args(["--format", "json"])
        .output()?;
    assert_eq!(followed, String::from_utf8(again.stdout)?);
    assert!(followed.contains("sessionEnd"));
    daemon.stop()?;
    Ok(())
}

#[test]
fn the_page_of_a_session_is_well_formed_and_holds_its_records() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let output = recorder.run(["sh", "-c", "ls '/<script>alert(1)</script>'; true"])?;
    assert!(output.status.success());
    let mut replay = recorder.command("replay")?;
    let page = String::from_utf8(replay.args(["--format", "html"]).output()?.stdout)?;
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>"));
    assert!(!page.contains("<script"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)"));
    Ok(())
}

#[test]
fn doctor_says_that_recording_works_here_and_without_permission_that_it_does_not()
-> anyhow::Result<()> {
    use std::os::unix::process::CommandExt as _;
    let recorder = Recorder::new()?;
    let report = lines(
        &recorder
            .command("doctor")?
            .args(["--format", "json"])
            .output()?,
    )?;
    recorder.run(["true"])?;
    let used = recorder.told_of_itself("recorder_start")?;
    assert_eq!(report[0]["profile"], json!(used[0]), "{report:?}");
    let mut doctor = Command::new(agent_recorder_tests::lab::recorder::binary()?);
    let output = doctor.arg("doctor").uid(65534).gid(65534).output()?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stdout)?.contains("→ run as root"));
    Ok(())
}
