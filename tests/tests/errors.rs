//! What goes wrong is said in one line, with the right exit status.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use agent_recorder_tests::daemon::Daemon;
use agent_recorder_tests::recorder::{Recorder, binary};

/// The one line that a failing command said, after its exit status was checked.
fn complaint(output: &Output, status: i32) -> anyhow::Result<String> {
    let said = String::from_utf8(output.stderr.clone())?;
    anyhow::ensure!(
        output.status.code() == Some(status),
        "not {status}: {output:?}"
    );
    anyhow::ensure!(output.stdout.is_empty(), "on standard output: {output:?}");
    anyhow::ensure!(said.lines().count() == 1, "not one line: {said}");
    anyhow::ensure!(said.starts_with("agent-recorder: "), "{said}");
    Ok(said)
}

#[test]
fn an_unknown_key_of_the_configuration_is_named_with_its_line() -> anyhow::Result<()> {
    let recorder = Recorder::with_configuration("[guard]\nlimit = 10\nwindows = \"1s\"\n")?;
    for command in ["replay", "config"] {
        let mut command = recorder.command(command)?;
        if command.get_args().any(|argument| argument == "config") {
            command.arg("check");
        }
        let said = complaint(&command.output()?, 2)?;
        assert!(
            said.contains("windows") && said.contains("config.toml:3:"),
            "{said}"
        );
    }
    Ok(())
}

#[test]
fn a_configuration_that_was_named_and_is_not_there_is_bad_input() -> anyhow::Result<()> {
    let output = Command::new(binary()?)
        .args(["replay", "--config", "/nonexistent/config.toml"])
        .output()?;
    let said = complaint(&output, 2)?;
    assert!(said.contains("/nonexistent/config.toml"), "{said}");
    Ok(())
}

#[test]
fn without_permission_the_remedy_is_named() -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    std::os::unix::fs::chown(state.path(), Some(65534), Some(65534))?;
    let mut command = Command::new(binary()?);
    command
        .args(["run", "--state-dir"])
        .arg(state.path())
        .args(["--", "true"])
        .uid(65534)
        .gid(65534);
    let said = complaint(&command.output()?, 1)?;
    assert!(said.contains("root"), "{said}");
    Ok(())
}

#[test]
fn a_kernel_without_btf_is_named_as_such() -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    // In a mount namespace of its own, nothing lies where the kernel's types are.
    let script =
        "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" run --state-dir \"$1\" -- true";
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script])
        .arg(binary()?)
        .arg(state.path())
        .output()?;
    let said = complaint(&output, 1)?;
    assert!(said.contains("BTF"), "{said}");
    Ok(())
}

#[test]
fn a_profile_that_the_kernel_refuses_is_not_replaced_by_another() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    for profile in ["lsm", "fentry"] {
        let output = recorder
            .command("run")?
            .args(["--profile", profile, "--", "true"])
            .output()?;
        if output.status.success() {
            let records = recorder.replay()?;
            let used = records.iter().find_map(|record| record.get("sessionStart"));
            assert_eq!(used.map(|start| &start["profile"]), Some(&profile.into()));
        } else {
            let said = complaint(&output, 1)?;
            assert!(said.contains(&format!("profile {profile}")), "{said}");
        }
    }
    Ok(())
}

#[test]
fn a_command_that_is_not_there_ends_as_a_shell_would_say() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let output = recorder.run(["/nonexistent/program"])?;
    assert_eq!(output.status.code(), Some(127), "{output:?}");
    let failed = recorder.replay()?.into_iter().any(|record| {
        record["exec"]["error"] == "ENOENT" && record["exec"]["filename"] == "/nonexistent/program"
    });
    assert!(failed, "the exec that failed is recorded");
    Ok(())
}

#[test]
fn a_second_daemon_is_told_of_the_first() -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let said = complaint(&daemon.command("daemon")?.output()?, 1)?;
    assert!(said.contains("process"), "{said}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn sessions_without_a_daemon_says_how_to_start_one() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    let said = complaint(&recorder.command("sessions")?.output()?, 1)?;
    assert!(said.contains("agent-recorder daemon"), "{said}");
    Ok(())
}

#[test]
fn exit_status_is_the_commands() -> anyhow::Result<()> {
    let recorder = Recorder::new()?;
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + 15)] {
        let output = recorder.run(["sh", "-c", script])?;
        assert_eq!(output.status.code(), Some(status), "{script}");
    }
    Ok(())
}
