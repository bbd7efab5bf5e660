//! strace's account of an agent's processes: the second account of a run, with which the
//! recorder's is compared.
//!
//! Not here: a general parser of strace's text. This one reads that of `-f -xx`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// Every process, and every program that one of them became.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// All threads' ids, leaders' among them.
    pub tids: BTreeSet<u32>,
    /// Successful execs in order of their start.
    pub execs: Vec<Exec>,
}

/// One successful exec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// The process.
    pub pid: u32,
    /// Arguments as the kernel hands them to the new program: a script's
    /// begin with its interpreter (execve(2)).
    pub argv: Vec<Vec<u8>>,
}

/// A command that runs `program` under strace and writes its account to `output`.
pub fn command(program: &Path, output: &Path) -> Command {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-xx", "--seccomp-bpf", "-e", "trace=execve,execveat"])
        // MAX_ARG_STRLEN of the kernel: no argument is longer.
        .args(["-s", "131072", "-o"])
        .arg(output)
        .arg("--")
        .arg(program);
    command
}

/// Reads an account.
pub fn read(path: &Path) -> anyhow::Result<Truth> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| format!("understand {}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Truth> {
    let mut truth = Truth::default();
    let mut unfinished = BTreeMap::new();
    for line in text.lines() {
        let (tid, what) = line.split_once(' ').with_context(|| line.to_owned())?;
        let tid: u32 = tid.parse().with_context(|| line.to_owned())?;
        let what = what.trim_start();
        truth.tids.insert(tid);
        if let Some(thread) = what.strip_prefix("+++ superseded by execve in pid ") {
            // The thread's exec continues under the leader's id.
            let thread: u32 = thread.trim_end_matches(" +++").parse()?;
            if let Some(call) = unfinished.remove(&thread) {
                unfinished.insert(tid, call);
            }
        } else if what.starts_with("<... execve") {
            let call: &str = unfinished.remove(&tid).with_context(|| line.to_owned())?;
            finish(&mut truth, tid, call, what)?;
        } else if what.ends_with("<unfinished ...>") {
            unfinished.insert(tid, what);
        } else if what.starts_with("execve") {
            finish(&mut truth, tid, what, what)?;
        } else if !what.starts_with("+++") && !what.starts_with("---") {
            bail!("strange line: {line}");
        }
    }
    Ok(truth)
}

/// Takes the call in, if its last line says that it succeeded.
fn finish(truth: &mut Truth, pid: u32, call: &str, end: &str) -> anyhow::Result<()> {
    if end.rsplit(" = ").next().map(str::trim) != Some("0") {
        return Ok(());
    }
    // With -xx there is no quote inside a string: every other part is one.
    let mut strings = call.split('"').skip(1).step_by(2).map(unhex);
    let filename = strings.next().with_context(|| call.to_owned())??;
    let argv = strings.collect::<anyhow::Result<Vec<_>>>()?;
    let argv = after_interpreters(filename, argv);
    truth.execs.push(Exec { pid, argv });
    Ok(())
}

fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    text.split("\\x")
        .skip(1)
        .map(|pair| {
            ensure!(pair.len() == 2, "strange string: {text}");
            Ok(u8::from_str_radix(pair, 16)?)
        })
        .collect()
}

/// Interpreters of interpreters that the kernel follows (fs/exec.c, exec_binprm).
const INTERPRETERS: usize = 5;
/// Bytes of a file that the kernel reads for its interpreter (BINPRM_BUF_SIZE).
const FIRST_BYTES: usize = 256;

/// fs/binfmt_script.c: `#!interpreter argument` puts both, and the script's
/// path in the place of argv[0], before the other arguments.
pub(crate) fn after_interpreters(filename: Vec<u8>, mut argv: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut filename = filename;
    for _ in 0..INTERPRETERS {
        let Some((interpreter, argument)) = interpreter(&filename) else {
            break;
        };
        let rest = argv.drain(..).skip(1);
        let first = [interpreter.clone()]
            .into_iter()
            .chain(argument)
            .chain([filename]);
        argv = first.chain(rest).collect();
        filename = interpreter;
    }
    argv
}

fn interpreter(file: &[u8]) -> Option<(Vec<u8>, Option<Vec<u8>>)> {
    // A file that is gone or relative to an unknown folder is no script of these tests.
    let content = fs::read(OsStr::from_bytes(file)).ok()?;
    let first = &content[..content.len().min(FIRST_BYTES)];
    let line = first
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let line = line.trim_ascii();
    let end = line
        .iter()
        .position(u8::is_ascii_whitespace)
        .unwrap_or(line.len());
    let (interpreter, argument) = line.split_at(end);
    let argument = argument.trim_ascii();
    let argument = (!argument.is_empty()).then(|| argument.to_vec());
    Some((interpreter.to_vec(), argument))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;

    fn exec(pid: u32, argv: &[&str]) -> Exec {
        Exec {
            pid,
            argv: argv
                .iter()
                .map(|argument| argument.as_bytes().to_vec())
                .collect(),
        }
    }

    #[test]
    fn only_execs_that_succeeded_are_the_truth() {
        let text = concat!(
            r#"10 execve("\x2f\x61", ["\x61", "\x2d\x62"], 0x7ffe /* 3 vars */) = -1 ENOENT (No)"#,
            "\n",
            r#"10 execve("\x2f\x62", ["\x61", "\x2d\x62"], 0x7ffe /* 3 vars */) = 0"#,
            "\n10 +++ exited with 0 +++\n",
        );
        let truth = parse(text).unwrap();
        assert_eq!(truth.execs, [exec(10, &["a", "-b"])]);
    }

    #[test]
    fn an_exec_by_a_thread_belongs_to_its_process() {
        let text = concat!(
            r#"11 execve("\x2f\x61", ["\x61"], 0x7ffe /* 3 vars */ <unfinished ...>"#,
            "\n10 +++ superseded by execve in pid 11 +++\n",
            "10 <... execve resumed>) = 0\n",
            "10 +++ killed by SIGKILL +++\n",
        );
        let truth = parse(text).unwrap();
        assert_eq!(truth.execs, [exec(10, &["a"])]);
        assert_eq!(truth.tids, BTreeSet::from([10, 11]));
    }

    #[test]
    fn a_scripts_arguments_are_those_its_interpreter_gets() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("s");
        fs::write(&script, "#! /usr/bin/env  -S x y \nbody").unwrap();
        let name = script.to_str().unwrap();
        let argv = vec![b"zero".to_vec(), b"one".to_vec()];
        let seen = after_interpreters(name.into(), argv);
        let expected = exec(0, &["/usr/bin/env", "-S x y", name, "one"]);
        assert_eq!(seen, expected.argv);
    }
}
