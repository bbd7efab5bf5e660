//! Real programs: the records agree with strace's account, act by act.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::net::UnixListener;

use agent_recorder_tests::lab::recorder::Recorder;
use agent_recorder_tests::oracle::programs::{Comparison, Stage, differences};
use anyhow::Context as _;
use rustix::net::{AddressFamily, SocketType};
use serde_json::Value;

/// libcurl-errors(3).
const CURLE_COULDNT_CONNECT: i32 = 7;

/// Checks that the program succeeded, and that both accounts agree.
fn agree(comparison: &Comparison) {
    differ_in_nothing(comparison);
    assert!(
        comparison.output.status.success(),
        "{:?}",
        comparison.output
    );
}

/// Fails with the first differences.
fn differ_in_nothing(comparison: &Comparison) {
    const SHOWN: usize = 40;
    let differences = &comparison.differences;
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(SHOWN)].join("\n")
    );
}

#[test]
fn tar_is_recorded_as_strace_sees_it() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    stage.prepare(
        "mkdir -p tree/a/b tree/c out
        echo one >tree/a/one; echo two >tree/a/b/two; ln tree/a/one tree/c/hard
        ln -s ../a tree/c/soft; ln -s nowhere tree/dangling; chmod 640 tree/a/one
        mkfifo tree/pipe",
    )?;
    agree(&stage.compare(&["tar", "-czf", "tree.tar.gz", "tree"])?);
    let extracted = stage.compare(&["tar", "-xpzf", "tree.tar.gz", "-C", "out"])?;
    agree(&extracted);
    every_spoiled_account_is_noticed(&extracted)
}

/// Checks that the comparison can fail: the accounts differ when a record is missing,
/// doubled, of another process or of another detail.
fn every_spoiled_account_is_noticed(comparison: &Comparison) -> anyhow::Result<()> {
    const DETAILS: &[(&str, &str)] = &[
        ("exec", "argv"),
        ("exec", "exe"),
        ("exec", "cwd"),
        ("fork", "childPid"),
        ("exit", "code"),
        ("file", "op"),
        ("file", "path"),
        ("file", "newPath"),
        ("file", "flags"),
        ("file", "mode"),
        ("file", "length"),
        ("file", "uid"),
        ("file", "error"),
        ("network", "peer"),
        ("network", "error"),
    ];
    let seen = |record: &Value| {
        let pid = record["process"]["pid"].as_u64();
        let pid = pid.and_then(|pid| u32::try_from(pid).ok());
        pid.is_some_and(|pid| comparison.truth.pids.contains(&pid))
    };
    let noticed = |records: &[Value]| -> anyhow::Result<bool> {
        Ok(!differences(&comparison.truth, records)?.is_empty())
    };
    for (kind, detail) in DETAILS {
        let has = |record: &Value| seen(record) && record[kind].get(detail).is_some();
        // The last one: strace's child acts before the program.
        let Some(at) = comparison.records.iter().rposition(has) else {
            continue;
        };
        let mut records = comparison.records.clone();
        let record = records.remove(at);
        assert!(noticed(&records)?, "gone: {record}");
        records.extend([record.clone(), record.clone()]);
        assert!(noticed(&records)?, "told twice: {record}");
        records.pop();
        assert!(!noticed(&records)?, "another order, nothing else: {record}");
        for (object, name) in [("process", "pid"), (kind, detail)] {
            let mut spoiled = record.clone();
            spoiled[object][name] = match &record[object][name] {
                Value::Number(number) => (number.as_u64().unwrap_or(0) + 1).into(),
                Value::Array(_) => Value::Array(vec!["other".into()]),
                _ => "/other".into(),
            };
            *records.last_mut().context("a record")? = spoiled.clone();
            assert!(noticed(&records)?, "altered: {spoiled}");
        }
    }
    // Two acts of one thread change places.
    let root = Value::from(comparison.truth.root);
    let mut records = comparison.records.clone();
    let mut files = (0..records.len()).rev().filter(|&at| {
        let record = &comparison.records[at];
        record["process"]["tid"] == root && record.get("file").is_some()
    });
    let last = files.next().context("no file was touched")?;
    let other = |at: &usize| records[*at]["file"]["path"] != records[last]["file"]["path"];
    let before = files.find(other).context("one file was touched")?;
    let times = [last, before].map(|at| records[at]["bootNs"].clone());
    let [of_last, of_other] = times;
    records[last]["bootNs"] = of_other;
    records[before]["bootNs"] = of_last;
    assert!(noticed(&records)?, "in another order: {}", records[last]);
    Ok(())
}

#[test]
fn git_clone_is_recorded_as_strace_sees_it() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    stage.prepare(
        "git init -q -b main origin; cd origin
        git config user.name n; git config user.email n@localhost
        mkdir -p deep/er; echo one >one; echo two >deep/er/two; ln -s deep/er/two soft
        git add .; git commit -qm first; git tag a; git branch side
        echo more >>one; git commit -qam second; git gc -q",
    )?;
    agree(&stage.compare(&["git", "clone", "-q", "origin", "copy"])?);
    agree(&stage.compare(&["git", "clone", "-q", "--no-local", "origin", "far"])?);
    Ok(())
}

#[test]
fn a_c_build_is_recorded_as_strace_sees_it() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    stage.prepare(
        "mkdir build
        for part in one two three; do
            printf '#include <stdio.h>\\n#include \"all.h\"\\nint %s(void) { return puts(\"%s\"); }\\n' $part $part >$part.c
            echo \"int $part(void);\" >>all.h
        done
        printf '#include \"all.h\"\\nint main(void) { return one() + two() + three() < 0; }\\n' >main.c
        printf 'OBJECTS = build/main.o build/one.o build/two.o build/three.o\\nrun: build/program\\n\\tbuild/program\\nbuild/program: $(OBJECTS)\\n\\tgcc -o $@ $^\\nbuild/%%.o: %%.c all.h\\n\\tgcc -O1 -c -o $@ $<\\n' >Makefile",
    )?;
    agree(&stage.compare(&["make", "-j2"])?);
    Ok(())
}

#[test]
fn rsync_is_recorded_as_strace_sees_it() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    stage.prepare(
        "mkdir -p from/a/b to/old/er; echo 1 >from/a/one; echo 2 >from/a/b/two
        ln -s a/one from/soft; echo gone >to/old/er/gone; echo gone >to/gone; echo 0 >to/stays
        echo new >from/stays; chmod 600 from/stays; ln -s nowhere to/dangling",
    )?;
    agree(&stage.compare(&["rsync", "-a", "--delete", "from/", "to"])?);
    Ok(())
}

#[test]
fn a_virtual_environment_is_recorded_as_strace_sees_it() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    agree(&stage.compare(&["python3", "-m", "venv", "venv"])?);
    Ok(())
}

#[test]
fn npm_install_is_recorded_as_strace_sees_it() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    stage.prepare(
        "mkdir package app; cd package
        echo '{\"name\": \"packed\", \"version\": \"1.0.0\", \"bin\": \"run.js\"}' >package.json
        echo '#!/usr/bin/env node' >run.js
        npm pack --silent --offline --pack-destination ..
        echo '{\"name\": \"app\", \"version\": \"1.0.0\"}' >../app/package.json",
    )?;
    agree(&stage.compare(&[
        "npm",
        "install",
        "--offline",
        "--no-audit",
        "--no-fund",
        "--prefix",
        "app",
        "./packed-1.0.0.tgz",
    ])?);
    Ok(())
}

/// Answers each connection with a short page.
fn serve(listener: impl Fn() -> std::io::Result<Box<dyn Stream>> + Send + 'static) {
    // Ends with the test's process.
    std::thread::spawn(move || {
        while let Ok(mut connection) = listener() {
            let mut request = [0; 4096];
            // A client that is gone again gets no answer.
            if connection.read(&mut request).is_ok_and(|length| length > 0) {
                let _ = connection.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
                );
            }
        }
    });
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

#[test]
fn awkward_names_are_recorded_as_strace_sees_them() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let script = include_str!("real_programs/awkward.py");
    let comparison = stage.compare(&["python3", "-c", script])?;
    agree(&comparison);
    every_spoiled_account_is_noticed(&comparison)
}

/// Without strace, whose stops give the recorder time to read a path before it changes.
#[test]
fn a_delete_is_told_of_the_directory_that_was_there_and_not_of_the_link_that_followed()
-> anyhow::Result<()> {
    const TURNS: usize = 300;
    let stage = Stage::new()?;
    let recorder = Recorder::with_configuration("[guard]\naction = \"off\"\n")?;
    let script = format!(
        "import os, sys
os.chdir(sys.argv[1]); os.mkdir('real')
for turn in range({TURNS}):
    name = 'turn%d' % turn
    os.mkdir(name); os.mknod(name + '/file'); os.unlink(name + '/file')
    os.rmdir(name); os.symlink('real', name)"
    );
    let folder = stage.path().display().to_string();
    let output = recorder.run(["/usr/bin/python3", "-c", &script, &folder])?;
    assert!(output.status.success(), "{output:?}");
    let records = recorder.replay()?;
    let deleted: BTreeSet<&str> = records
        .iter()
        .filter(|record| record["file"]["op"] == "DELETE")
        .filter_map(|record| record["file"]["path"].as_str())
        .collect();
    let expected: BTreeSet<String> = (0..TURNS)
        .map(|turn| format!("{folder}/turn{turn}/file"))
        .collect();
    assert_eq!(deleted, expected.iter().map(String::as_str).collect());
    Ok(())
}

#[test]
fn curl_is_recorded_as_strace_sees_it() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let four = TcpListener::bind("127.0.0.1:0")?;
    let six = TcpListener::bind("[::1]:0")?;
    let unix = UnixListener::bind(stage.path().join("socket"))?;
    let (port, port6) = (four.local_addr()?.port(), six.local_addr()?.port());
    serve(move || Ok(Box::new(four.accept()?.0)));
    serve(move || Ok(Box::new(six.accept()?.0)));
    serve(move || Ok(Box::new(unix.accept()?.0)));
    // A bound port without a listener refuses.
    let refusing = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&refusing, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    let refused = std::net::TcpListener::from(refusing.try_clone()?).local_addr()?;
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::1]:{port6}/"),
        // ::1 is refused, then 127.0.0.1 answers.
        format!("http://localhost:{port}/"),
    ] {
        let comparison = stage.compare(&["curl", "-sS", "-o", "page", &url])?;
        agree(&comparison);
        every_spoiled_account_is_noticed(&comparison)?;
        assert_eq!(std::fs::read(stage.path().join("page"))?, b"hello");
    }
    agree(&stage.compare(&["curl", "-sS", "--unix-socket", "socket", "http://page/"])?);
    let url = format!("http://{refused}/");
    let comparison = stage.compare(&["curl", "-s", &url])?;
    assert_eq!(comparison.output.status.code(), Some(CURLE_COULDNT_CONNECT));
    differ_in_nothing(&comparison);
    Ok(())
}

/// libcurl-errors(3).
const CURLE_OPERATION_TIMEDOUT: i32 = 28;

#[test]
fn a_connect_that_curl_gives_up_is_recorded_as_under_way() -> anyhow::Result<()> {
    let stage = Stage::new()?;
    let silent = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
    rustix::net::bind(&silent, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
    // A backlog of 0 takes one connection; a second gets no answer (listen(2)).
    rustix::net::listen(&silent, 0)?;
    let silent = TcpListener::from(silent);
    let _first = std::net::TcpStream::connect(silent.local_addr()?)?;
    let url = format!("http://{}/", silent.local_addr()?);
    let comparison = stage.compare(&["curl", "-s", "--connect-timeout", "1", &url])?;
    let code = comparison.output.status.code();
    assert_eq!(code, Some(CURLE_OPERATION_TIMEDOUT));
    differ_in_nothing(&comparison);
    Ok(())
}
