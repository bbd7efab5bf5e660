//! Real programs: what was recorded of them is what strace saw, act by act.

use agent_recorder_tests::programs::{Comparison, Stage, differences};
use anyhow::Context as _;
use serde_json::Value;

/// The program succeeded, and both accounts say the same.
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

/// The comparison can fail: with any one record gone, told twice, of another
/// process or with another detail, the accounts differ.
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
        // The last: the first of strace's child are its own.
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
