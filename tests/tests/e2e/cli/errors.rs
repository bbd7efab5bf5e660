//! Every error is one line with the right exit status.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::file_systems::{in_own_namespace, tmpfs, tmpfs_with};
use agent_recorder_tests::lab::recorder::{Recorder, binary, complaint};
use agent_recorder_tests::lab::wait::wait_for;
use anyhow::Context as _;
use rustix::mount::{MountFlags, mount_remount};
use rustix::process::{Pid, Signal, kill_process};

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
    command.uid(65534).gid(65534);
    let said = refused_by(command, state.path())?;
    assert!(said.contains("root"), "{said}");
    Ok(())
}

#[test]
fn a_kernel_without_btf_is_named_as_such() -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    // In a mount namespace of its own, the kernel's type information is hidden.
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
    assert!(
        said.contains(&format!("process {}", daemon.pid())),
        "{said}"
    );
    daemon.stop()?;
    Ok(())
}

/// D7, as far as there is something to reload: the daemon continues, and logs that it read nothing.
#[test]
fn a_daemon_outlives_sighup() -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let pid = i32::try_from(daemon.pid())?;
    let pid = Pid::from_raw(pid).context("no process")?;
    for _ in 0..100 {
        kill_process(pid, Signal::HUP)?;
    }
    wait_for("its words", || {
        Ok(daemon.log().contains("SIGHUP").then_some(()))
    })?;
    assert!(daemon.command("sessions")?.output()?.status.success());
    let log = daemon.log();
    assert!(!log.contains('\x1b'), "colours in a file: {log}");
    daemon.stop()?;
    Ok(())
}

/// E13
#[test]
fn who_is_not_root_commands_no_daemon() -> anyhow::Result<()> {
    let daemon = Daemon::start()?;
    let mut sleeper = daemon
        .command("run")?
        .args(["--", "sleep", "600"])
        .stderr(Stdio::null())
        .spawn()?;
    let session = wait_for("the session", || Ok(daemon.sessions()?.pop()))?.to_string();
    // The socket is reached, and refuses.
    fs::set_permissions(daemon.state(), fs::Permissions::from_mode(0o711))?;
    for name in ["kill", "freeze", "resume", "sessions"] {
        let mut command = daemon.command(name)?;
        if name != "sessions" {
            command.arg(&session);
        }
        let said = complaint(&command.uid(65534).gid(65534).output()?, 1)?;
        assert!(said.contains("only root"), "{name}: {said}");
    }
    assert!(sleeper.try_wait()?.is_none(), "the session has ended");
    let killed = daemon.command("kill")?.arg(&session).output()?;
    assert!(killed.status.success(), "{killed:?}");
    assert_eq!(sleeper.wait()?.code(), Some(128 + 9));
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

/// The error of `run` about a state directory, in one line.
fn refused(state: &Path) -> anyhow::Result<String> {
    refused_by(Command::new(binary()?), state)
}

/// The error of `run` from a binary that another program starts, in one line.
fn refused_by(mut command: Command, state: &Path) -> anyhow::Result<String> {
    command.args(["run", "--state-dir"]).arg(state);
    complaint(&command.args(["--", "true"]).output()?, 1)
}

/// S10, D12
#[test]
fn a_state_directory_that_takes_no_file_is_told_with_the_reason() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let scratch = tempfile::tempdir()?;
        // Inodes for the root, the state directory and the spool, and none for a stream.
        let full = tmpfs_with(&scratch.path().join("full"), c"mode=755,nr_inodes=3")?;
        let said = refused(&full.directory.join("state"))?;
        assert!(said.contains("No space left"), "{said}");
        let only_read = tmpfs(&scratch.path().join("only-read"))?;
        mount_remount(&only_read.directory, MountFlags::RDONLY, "")?;
        let said = refused(&only_read.directory.join("state"))?;
        assert!(said.contains("Read-only file system"), "{said}");
        Ok(())
    })
}

/// D9
#[test]
fn too_few_descriptors_are_told_with_the_reason() -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=32").arg(binary()?);
    let said = refused_by(limited, state.path())?;
    assert!(said.contains("Too many open files"), "{said}");
    Ok(())
}

/// The daemon continues, whatever a process writes to the control socket, which everybody
/// may. Some of it follows a valid beginning (RFC 9113, section 3.4).
#[test]
fn garbage_on_the_control_socket_ends_nothing() -> anyhow::Result<()> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let daemon = Daemon::start()?;
    let socket = daemon.state().join("control.sock");
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move || {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..300 {
        let length = draw() % 2000;
        let mut bytes: Vec<u8> = (0..length).map(|_| draw().to_le_bytes()[3]).collect();
        if round % 2 == 0 {
            bytes.splice(0..0, PREFACE.iter().copied());
        }
        let mut stream = UnixStream::connect(&socket)?;
        // The daemon may hang up early.
        let _ = stream.write_all(&bytes);
    }
    let listed = daemon.command("sessions")?.output()?;
    assert!(listed.status.success(), "{listed:?}");
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    daemon.stop()?;
    Ok(())
}
