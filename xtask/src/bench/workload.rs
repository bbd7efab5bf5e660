//! The workloads: single operations in loops, and commands that agents run all day.
//! Each is bounded, offline, and the same in every round.

use std::path::Path;

/// `--quick` divides the repetitions by this.
const QUICK_DIVISOR: u64 = 5;

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    /// Name of one operation.
    pub name: &'static str,
    /// Repetitions of the operation in one measurement.
    pub times: u64,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// A mode of bench_micro.
    Loop(&'static str),
    /// A shell command, which is repeated in the inputs' folder.
    Shell(&'static str),
    /// A session around /bin/true: its cost is that of the recorder and the command
    /// line.
    Session,
}

/// Every row, the neighbour's first.
pub(super) const ALL: &[Workload] = &[
    row("getpid", 1_000_000, What::Loop("getpid")),
    row("open and close, reading", 100_000, What::Loop("openread")),
    row("open and close, writing", 100_000, What::Loop("openwrite")),
    row("create and unlink", 50_000, What::Loop("createunlink")),
    row("fork, exec and wait", 400, What::Loop("forkexec")),
    row("… stopped at the gate, let go", 400, What::Loop("gated")),
    row("TCP connect, accept, close", 8_000, What::Loop("connect")),
    row(
        "C build, 13 files",
        1,
        What::Shell("cp -r c build && make -s -j1 -C build && rm -r build"),
    ),
    row(
        "git checkout, 150 files",
        10,
        What::Shell(
            "cd repository && if [ $((i % 2)) = 1 ]; then git checkout -q feature; else git checkout -q main; fi",
        ),
    ),
    row(
        "untar and delete, 800 files",
        5,
        What::Shell("mkdir new && tar xf tree.tar -C new && rm -r new"),
    ),
    row(
        "grep, 800 files",
        2,
        What::Shell(
            "find tree -type f -print0 | xargs -0 -n 8 grep -c 'value_1[0-9]*7' > /dev/null || [ $? = 123 ]",
        ),
    ),
    row(
        "Python start",
        5,
        What::Shell("python3 -c 'import argparse, json, pathlib, subprocess, urllib.request'"),
    ),
    row("a session from start to end", 5, What::Session),
];

const fn row(name: &'static str, times: u64, what: What) -> Workload {
    Workload { name, times, what }
}

impl Workload {
    /// Fewer repetitions, for `--quick`. An even number stays even, so that a
    /// checkout and its way back stay in pairs.
    pub(super) fn quick(self) -> Self {
        let times = (self.times / QUICK_DIVISOR).max(1);
        Self {
            times: if self.times.is_multiple_of(2) {
                times.next_multiple_of(2)
            } else {
                times
            },
            ..self
        }
    }

    /// Whether it starts its own session.
    pub(super) fn is_session(&self) -> bool {
        matches!(self.what, What::Session)
    }

    /// bench_micro's arguments after the recorder's pid. `session` is the beginning
    /// of a recording command line, for [`Workload::is_session`].
    pub(super) fn words(&self, session: &[String]) -> Vec<String> {
        let shell = |command: &str| {
            let script = format!(
                "set -e; i=1; while [ $i -le {} ]; do ( {command} ); i=$((i+1)); done",
                self.times
            );
            vec!["run".to_owned(), "sh".to_owned(), "-c".to_owned(), script]
        };
        match self.what {
            What::Loop(mode) => vec![mode.to_owned(), self.times.to_string()],
            What::Shell(command) => shell(command),
            What::Session => {
                let mut words = shell("\"$@\" /bin/true");
                words.push("session".to_owned());
                if session.is_empty() {
                    words.push("env".to_owned())
                } else {
                    words.extend_from_slice(session)
                }
                words
            }
        }
    }
}

/// The beginning of a command line that records the rest of it, in a session of the
/// running daemon.
pub(super) fn session_words(recorder: &Path, options: &[String]) -> Vec<String> {
    let recorder = recorder.display().to_string();
    std::iter::once(recorder)
        .chain(options.iter().cloned())
        .chain(["run".to_owned(), "--".to_owned()])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_does_less_and_keeps_checkouts_in_pairs() {
        for workload in ALL {
            let quick = workload.quick();
            assert!(
                quick.times >= 1 && quick.times <= workload.times.max(1),
                "{}",
                workload.name
            );
            assert!(
                !workload.times.is_multiple_of(2) || quick.times.is_multiple_of(2),
                "{}",
                workload.name
            );
        }
    }

    #[test]
    fn a_session_row_records_each_command_by_itself() {
        let Some(row) = ALL.iter().find(|row| row.is_session()) else {
            panic!("no session row")
        };
        let words = row.words(&session_words(
            Path::new("/r"),
            &["--state-dir".into(), "/s".into()],
        ));
        assert_eq!(
            &words[words.len() - 5..],
            ["/r", "--state-dir", "/s", "run", "--"]
        );
        assert_eq!(row.words(&[]).last().map(String::as_str), Some("env"));
    }
}
