//! The output of commands about intact and damaged stores, with each exit status, on
//! any terminal or none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agent_recorder::replay::{FORMATS, Format};
use agent_recorder_tests::lab::recorder::{Recorder, binary, complaint};
use anyhow::{Context as _, ensure};
use tempfile::TempDir;

/// A recorder with a session in which a file has a name that a terminal would act on.
fn recorded() -> anyhow::Result<Recorder> {
    let recorder = Recorder::alone("")?;
    let scratch = tempfile::tempdir()?;
    let script = r#": > "$0/$(printf 'a\033[31mb\r')"; for n in $(seq 300); do : > "$0/$n"; done"#;
    let words = ["sh", "-c", script].map(std::ffi::OsStr::new);
    let output = recorder.run(words.into_iter().chain([scratch.path().as_os_str()]))?;
    ensure!(output.status.success(), "{output:?}");
    Ok(recorder)
}

fn replayed(recorder: &Recorder, arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(recorder.command("replay")?.args(arguments).output()?)
}

/// R3, R4: the output is the same on every terminal, with nothing that one acts on.
#[test]
fn what_is_shown_has_no_escapes_whatever_the_terminal() -> anyhow::Result<()> {
    let recorder = recorded()?;
    let mut shown = Vec::new();
    for (name, value) in [
        ("TERM", "dumb"),
        ("TERM", "xterm"),
        ("LANG", "C"),
        ("NO_COLOR", "1"),
    ] {
        for Format { name: format, .. } in FORMATS {
            let mut command = recorder.command("replay")?;
            let output = command
                .args(["--format", format])
                .env(name, value)
                .output()?;
            ensure!(output.status.success(), "{output:?}");
            for bytes in [&output.stdout, &output.stderr] {
                let acts = |byte: &u8| byte.is_ascii_control() && *byte != b'\n';
                assert!(!bytes.iter().any(acts), "{format} with {name}={value}");
            }
            shown.push((format, output.stdout));
        }
    }
    assert!(shown.iter().all(|it| shown[..FORMATS.len()].contains(it)));
    Ok(())
}

/// R3: the reader has seen enough.
#[test]
fn a_pipe_that_closes_is_no_failure() -> anyhow::Result<()> {
    let recorder = recorded()?;
    for Format { name: format, .. } in FORMATS {
        let mut replay = recorder.command("replay")?;
        replay.args(["--format", format]);
        let mut shell = Command::new("bash");
        shell
            .args([
                "-c",
                "\"$@\" | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}",
                "bash",
            ])
            .arg(replay.get_program())
            .args(replay.get_args());
        let output = shell.output()?;
        assert!(output.status.success(), "{format}: {output:?}");
        assert!(output.stderr.is_empty(), "{format}: {output:?}");
    }
    Ok(())
}

/// R5, R6
#[test]
fn a_filter_without_a_meaning_is_bad_input() -> anyhow::Result<()> {
    let recorder = recorded()?;
    for arguments in [
        ["--filter", "file.op =="],
        ["--kind", "nothing"],
        ["--since", "yesterday"],
        ["--until", "soon"],
        ["--path", "a[b"],
    ] {
        complaint(&replayed(&recorder, &arguments)?, 2)?;
    }
    for arguments in [
        &["--since", "2100-01-01T00:00:00Z"][..],
        &["--since", "10m", "--until", "20m"],
        &["--filter", "nothing.like == 'that'"],
        &["--filter", "file.op == 7"],
    ] {
        let output = replayed(&recorder, arguments)?;
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{output:?}"
        );
    }
    let all = replayed(&recorder, &["--format", "json"])?.stdout;
    for ago in ["10m", "10m ago"] {
        let since = replayed(&recorder, &["--format", "json", "--since", ago])?;
        assert_eq!(since.stdout, all, "{ago}");
    }
    Ok(())
}

/// A state directory with one stream of one segment, which has these bytes.
fn with_segment(bytes: &[u8]) -> anyhow::Result<TempDir> {
    let state = tempfile::tempdir()?;
    let stream = state
        .path()
        .join("spool/01a227f0-0000-7000-8000-000000000000");
    fs::create_dir_all(&stream)?;
    fs::write(stream.join("00000000000000000001.seg"), bytes)?;
    Ok(state)
}

/// The path of a segment, and its bytes, valid except for a newer version.
fn of_a_newer_version(recorder: &Recorder) -> anyhow::Result<(PathBuf, Vec<u8>)> {
    let spool = recorder.state().join("spool");
    let stream = fs::read_dir(spool)?.next().context("a stream")??.path();
    let mut segments: Vec<_> = fs::read_dir(stream)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|it| it == "seg"))
        .collect();
    segments.sort();
    let segment = segments.into_iter().next().context("a segment")?;
    let mut bytes = fs::read(&segment)?;
    bytes[8..12].copy_from_slice(&2u32.to_le_bytes());
    let sum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    Ok((segment, bytes))
}

fn asked(command: &str, state: &Path) -> anyhow::Result<Output> {
    let mut asked = Command::new(binary()?);
    asked.arg(command);
    if command == "who" {
        asked.arg("/etc/hostname");
    }
    Ok(asked.arg("--state-dir").arg(state).output()?)
}

/// R8
#[test]
fn a_store_that_is_none_is_told_in_one_line() -> anyhow::Result<()> {
    let empty = tempfile::tempdir()?;
    let garbage = with_segment(&[0xa5; 5000])?;
    let absent = Path::new("/nonexistent/state");
    for state in [empty.path(), absent, garbage.path()] {
        for command in ["replay", "who", "verify"] {
            let output = asked(command, state)?;
            assert!(
                matches!(output.status.code(), Some(1..=4)),
                "{command} {state:?}: {output:?}"
            );
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "{said}");
            assert!(said.lines().count() <= 2, "{command} {state:?}: {said}");
        }
    }
    // A segment that was just begun is empty, and nothing is lost.
    let begun = with_segment(b"AGREC")?;
    let output = asked("who", begun.path())?;
    assert!(
        output.status.success() && output.stdout.is_empty(),
        "{output:?}"
    );
    Ok(())
}

/// R8: records of a newer version are not taken for records of this one.
#[test]
fn a_segment_of_a_newer_version_is_told_as_that() -> anyhow::Result<()> {
    let recorder = recorded()?;
    let (segment, bytes) = of_a_newer_version(&recorder)?;
    fs::write(&segment, bytes)?;
    let verified = asked("verify", recorder.state())?;
    let said = String::from_utf8_lossy(&verified.stdout).into_owned()
        + &String::from_utf8_lossy(&verified.stderr);
    assert!(said.contains("version"), "{said}");
    assert!(!verified.status.success());
    Ok(())
}
