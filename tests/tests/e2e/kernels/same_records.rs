//! The same stimulus makes the same records in every profile and on every kernel:
//! those of `tests/same_records.txt`, with the number of each.
//!
//! With AGENT_RECORDER_SAME_RECORDS=print this kernel's records are printed instead.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use agent_recorder_tests::lab::daemon::Daemon;
use agent_recorder_tests::lab::file_systems::{in_own_namespace, tmpfs};
use agent_recorder_tests::oracle::compare::{is_forgiven, kernel, lost_by_skipping};
use agent_recorder_tests::oracle::normal::{Names, Parts};
use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};

use crate::STIMULUS;

const GOLDEN: &str = include_str!("../../same_records.txt");
const VARIABLE: &str = "AGENT_RECORDER_SAME_RECORDS";

/// Length of a working directory's path, bytes: it decides where the longest names end.
const DIRECTORY_BYTES: usize = 80;

/// A stimulus, and the compared part of its records.
struct Stimulus {
    name: &'static str,
    /// Words before the directory.
    program: &'static [&'static str],
    /// Words after the directory.
    mode: &'static [&'static str],
    /// Compared kinds of records. Of a program's files only those in its working
    /// directory count, because its libraries differ.
    kinds: &'static [&'static str],
}

const STIMULI: [Stimulus; 5] = [
    Stimulus {
        name: "files",
        program: &[STIMULUS, "files"],
        mode: &[],
        kinds: &["file"],
    },
    Stimulus {
        name: "files of 32-bit code",
        program: &[STIMULUS, "files"],
        mode: &["compat"],
        kinds: &["file"],
    },
    Stimulus {
        name: "network",
        program: &[STIMULUS, "net"],
        mode: &[],
        kinds: &["network", "dns"],
    },
    Stimulus {
        name: "processes",
        program: &[env!("CARGO_BIN_EXE_stim_processes")],
        mode: &[],
        kinds: &["fork", "exec", "exit"],
    },
    Stimulus {
        name: "what reaches out of the session",
        program: &[STIMULUS, "controls"],
        mode: &[],
        kinds: &["control"],
    },
];

/// A record: its kind, the role of its process, and its fields.
#[derive(Clone, Debug)]
struct Act {
    kind: String,
    part: String,
    fields: Map<String, Value>,
}

impl Act {
    fn says(&self, field: &str, value: &str) -> bool {
        self.fields.get(field).is_some_and(|said| said == value)
    }

    fn of_kind(&self, kind: &str) -> bool {
        self.kind == kind
    }
}

/// A part that is not compared, with its kernels and the reason.
struct Differs {
    #[expect(dead_code, reason = "for who reads the list")]
    why: &'static str,
    /// Kernels before this one; `None` for no bound.
    before: Option<(u32, u32)>,
    /// Kernels from this one on.
    since: (u32, u32),
    acts: fn(&Act) -> bool,
    fields: &'static [&'static str],
}

/// Since every kernel.
const EVERY: (u32, u32) = (0, 0);
/// A length of more than 32 bits.
const LARGE: u64 = (1 << 32) + 5;

/// The one list of what is not compared.
const DIFFERS: &[Differs] = &[
    Differs {
        why: "says how the path was seen, which is what a profile decides",
        before: None,
        since: EVERY,
        acts: |act| act.of_kind("file") || act.of_kind("exec"),
        fields: &["pathSource"],
    },
    Differs {
        why: "tracepoints know the inode of what is open, hooks of what a path led to; that it is \
              the right one where it is known, the ground truth of each tells",
        before: None,
        since: EVERY,
        acts: |act| act.of_kind("file"),
        fields: &["dev", "ino"],
    },
    Differs {
        why: "hooks see what stands at the new name of a rename, tracepoints what is gone afterwards; \
              `renames` checks each",
        before: None,
        since: EVERY,
        acts: |act| act.says("op", "RENAME"),
        fields: &["replaced"],
    },
    Differs {
        why: "numbers of the run; whose they are, the part says",
        before: None,
        since: EVERY,
        acts: |act| act.of_kind("fork"),
        fields: &["childPid", "childStartTimeNs", "childPpid"],
    },
    Differs {
        why: "a number of the run",
        before: None,
        since: EVERY,
        acts: |act| act.of_kind("control"),
        fields: &["targetPid"],
    },
    Differs {
        why: "where the program lies, and how long its path is",
        before: None,
        since: EVERY,
        acts: |act| act.of_kind("exec"),
        fields: &["dev", "ino", "argvBytes"],
    },
    Differs {
        why: "fchmodat2(2) came with 6.6",
        before: Some((6, 6)),
        since: EVERY,
        acts: |act| act.says("op", "CHMOD"),
        fields: &["error"],
    },
    Differs {
        why: "tmpfs has attributes of users since 6.6, setxattrat(2) came with 6.13",
        before: Some((6, 13)),
        since: EVERY,
        acts: |act| act.says("op", "XATTR"),
        fields: &["error"],
    },
    Differs {
        why: "an argv of none has an empty name since 5.18",
        before: Some((5, 18)),
        since: EVERY,
        acts: |act| act.of_kind("exec") && act.says("exe", "PROGRAM"),
        fields: &["argv"],
    },
    Differs {
        why: "32-bit code may cut a file beyond 2 GiB without O_LARGEFILE since 7",
        before: None,
        since: (7, 0),
        acts: |act| act.says("op", "TRUNCATE") && act.fields.get("length") == Some(&json!(LARGE)),
        fields: &["error"],
    },
];

fn without_what_differs(mut act: Act, kernel: (u32, u32)) -> Act {
    for differs in DIFFERS {
        let here = kernel >= differs.since && differs.before.is_none_or(|before| kernel < before);
        if here && (differs.acts)(&act) {
            for field in differs.fields {
                act.fields.remove(*field);
            }
        }
    }
    act
}

/// Records by content, with counts.
type Counted = BTreeMap<String, usize>;

fn counted(acts: impl IntoIterator<Item = (usize, Act)>, kernel: (u32, u32)) -> Counted {
    let mut counted = Counted::new();
    for (count, act) in acts {
        let Act { kind, part, fields } = without_what_differs(act, kernel);
        // Fields are sorted, because the recorder may write them in any order.
        let fields: BTreeMap<_, _> = fields.into_iter().collect();
        let line = json!({"by": part, kind: fields}).to_string();
        *counted.entry(line).or_default() += count;
    }
    counted
}

/// The lines of the golden file, each `COUNT {"by": PART, KIND: {…}}`, after a line
/// `# STIMULUS`.
fn golden(stimulus: &str) -> anyhow::Result<Vec<(usize, Act)>> {
    let mut lines = GOLDEN.lines();
    lines.find(|line| line.strip_prefix("# ") == Some(stimulus));
    lines
        .take_while(|line| !line.starts_with('#'))
        .map(|line| {
            let (count, said) = line.split_once(' ').context("a line without a count")?;
            let mut said: Map<String, Value> = serde_json::from_str(said)?;
            let part = said.remove("by").context("a line by nobody")?;
            let (kind, fields) = said.into_iter().next().context("a line of no kind")?;
            let part = part.as_str().context("a part that is no word")?.to_owned();
            let fields = fields.as_object().context("a kind of no fields")?.clone();
            Ok((count.parse()?, Act { kind, part, fields }))
        })
        .collect()
}

/// The compared acts of a session, and all of its records.
struct Recorded {
    acts: Vec<(usize, Act)>,
    records: Vec<Value>,
}

/// Records a stimulus beside a daemon: a `run` without one would be the session's parent,
/// and hooks would refuse acts on it.
fn recorded(daemon: &Daemon, directory: &Path, stimulus: &Stimulus) -> anyhow::Result<Recorded> {
    let program = stimulus.program[0];
    let mut run = daemon.command("run")?;
    run.arg("--").args(stimulus.program);
    run.arg(directory).args(stimulus.mode);
    let output = run.output()?;
    ensure!(output.status.success(), "{output:?}");
    let records = daemon.last_session()?;
    let losses: Vec<_> = records.iter().filter_map(|it| it.get("loss")).collect();
    ensure!(
        losses.is_empty() || lost_by_skipping(&records)?,
        "{losses:?}"
    );
    let parts = Parts::of(&records);
    let names = Names::new(directory, program)?;
    let act = |record: &Value| {
        let kind = *stimulus
            .kinds
            .iter()
            .find(|kind| record.get(**kind).is_some())?;
        let fields = names.normalise(cut_alike(record[kind].clone(), program));
        let mut process = record["process"].clone();
        if kind == "exit" {
            // Any thread can be the last to end.
            process["tid"] = process["pid"].clone();
        }
        let act = Act {
            kind: kind.to_owned(),
            part: parts.name(&process),
            fields: fields.as_object()?.clone(),
        };
        Some((1, act))
    };
    let acts = records.iter().filter_map(act);
    let acts = acts.filter(|(_, act)| is_of_stimulus(act)).collect();
    Ok(Recorded { acts, records })
}

/// The kept bytes of arguments include the program's path, whose length differs: the last
/// argument is extended by it.
fn cut_alike(mut act: Value, program: &str) -> Value {
    if act["argvTruncated"] == true
        && let Some(Value::String(last)) =
            act["argv"].as_array_mut().and_then(|argv| argv.last_mut())
        && let Some(end) = last.chars().last()
    {
        last.extend(std::iter::repeat_n(end, program.len()));
    }
    act
}

fn is_of_stimulus(act: &Act) -> bool {
    let inside = |name: &str| {
        let path = act.fields.get(name).and_then(Value::as_str);
        path.is_some_and(|path| path.starts_with("DIR"))
    };
    !act.of_kind("file") || inside("path") || inside("newPath")
}

/// A directory under `above` whose path has `DIRECTORY_BYTES` bytes.
fn directory_of_one_length(above: &Path) -> anyhow::Result<PathBuf> {
    let above = fs::canonicalize(above)?;
    let left = DIRECTORY_BYTES.checked_sub(above.as_os_str().len() + 1);
    let name = "d".repeat(left.context("the folder for temporary files has a long path")?);
    let directory = above.join(name);
    fs::create_dir(&directory)?;
    Ok(directory)
}

/// The differing lines; none where every missing record is reported as lost (Linux 7).
fn differences(golden: &Counted, recorded: &Counted, records: &[Value]) -> Vec<String> {
    let lines = golden.keys().chain(recorded.keys());
    let lines: std::collections::BTreeSet<_> = lines.collect();
    let count = |of: &Counted, line: &str| of.get(line).copied().unwrap_or_default();
    let differing: Vec<_> = lines
        .into_iter()
        .map(|line| (line, count(golden, line), count(recorded, line)))
        .filter(|(_, one, other)| one != other)
        .collect();
    let is_only_missing = differing.iter().all(|(_, one, other)| one > other);
    let missing = differing.iter().map(|(_, one, other)| one.abs_diff(*other));
    if is_only_missing && is_forgiven(missing.sum(), golden.values().sum(), records) {
        return Vec::new();
    }
    differing
        .into_iter()
        .map(|(line, one, other)| format!("{one} elsewhere, {other} here: {line}"))
        .collect()
}

#[test]
fn the_same_stimulus_gives_the_same_records_everywhere() -> anyhow::Result<()> {
    in_own_namespace(|| {
        let scratch = tempfile::tempdir()?;
        let kernel = kernel()?;
        let daemon = Daemon::start_with("[guard]\naction = \"off\"\n")?;
        let mut all = Vec::new();
        for stimulus in STIMULI {
            let mounted = tmpfs(&scratch.path().join("fs"))?;
            let directory = directory_of_one_length(&mounted.directory)?;
            let Recorded { acts, records } = recorded(&daemon, &directory, &stimulus)
                .with_context(|| format!("the stimulus of {}", stimulus.name))?;
            let stimulus = stimulus.name;
            let here = counted(acts, kernel);
            if std::env::var_os(VARIABLE).is_some() {
                print(stimulus, &here)?;
                continue;
            }
            let elsewhere = counted(golden(stimulus)?, kernel);
            ensure!(!elsewhere.is_empty(), "{stimulus}: nothing to compare with");
            all.extend(
                differences(&elsewhere, &here, &records)
                    .into_iter()
                    .map(|line| format!("{stimulus}: {line}")),
            );
        }
        daemon.stop()?;
        ensure!(all.is_empty(), "{}", all.join("\n"));
        Ok(())
    })
}

/// Prints past the capture of test output.
fn print(stimulus: &str, counted: &Counted) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    // After the test's name, which has no end of line yet.
    writeln!(out, "\n# {stimulus}")?;
    for (line, count) in counted {
        writeln!(out, "{count} {line}")?;
    }
    Ok(())
}
