//! Records without the parts that differ between runs: a process becomes its role in
//! the session, a file its name in the working directory, a number of the kernel a
//! word for its kind.
//!
//! Not here: leaving fields out, which the caller does.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Shortest run of equal bytes that is replaced by its length.
const RUN: usize = 20;

/// Words for numbers that follow a prefix.
const NUMBERS: [(&str, &str); 9] = [
    ("127.0.0.1:", "PORT"),
    ("0.0.0.0:", "PORT"),
    ("[::1]:", "PORT"),
    ("[::]:", "PORT"),
    // An address that a process makes of its own number.
    ("127.53.", "N.N"),
    ("/proc/", "PID"),
    ("@agent-recorder-test-", "PID"),
    ("/#", "INODE"),
    ("/thread", "N.N"),
];

/// A process, as `pid` and `startTimeNs`.
type Key = (u64, u64);

/// The roles of a session's processes: `main`, and the parent of each other one.
#[derive(Debug, Default)]
pub struct Parts {
    main: Option<Key>,
    parents: HashMap<Key, Key>,
}

impl Parts {
    /// The roles in a session's records.
    pub fn of(records: &[Value]) -> Self {
        let mut parts = Self::default();
        for record in records {
            let doer = key(&record["process"], "pid", "startTimeNs");
            if record.get("sessionStart").is_some() {
                parts.main = doer;
            }
            let child = key(&record["fork"], "childPid", "childStartTimeNs");
            if let (Some(parent), Some(child)) = (doer, child) {
                parts.parents.insert(child, parent);
            }
        }
        parts
    }

    /// The role, as `main/child`. `/thread` follows for a thread other than the first.
    pub fn name(&self, process: &Value) -> String {
        let mut name = String::new();
        let mut at = key(process, "pid", "startTimeNs");
        while at != self.main {
            name.push_str("/child");
            at = at.and_then(|key| self.parents.get(&key).copied());
            if at.is_none() {
                return format!("stranger{name}");
            }
        }
        let thread = if process["pid"] == process["tid"] {
            ""
        } else {
            "/thread"
        };
        format!("main{name}{thread}")
    }
}

fn key(of: &Value, pid: &str, start: &str) -> Option<Key> {
    Some((of[pid].as_u64()?, of[start].as_u64()?))
}

/// Words for the names of one run.
#[derive(Debug)]
pub struct Names {
    /// Whole strings or beginnings of paths, and their replacements.
    pub known: Vec<(String, &'static str)>,
}

impl Names {
    /// Names of a working directory, a program, the shell, and the current directory.
    ///
    /// # Errors
    ///
    /// There is no shell, or no current directory.
    pub fn new(directory: &Path, program: &str) -> anyhow::Result<Self> {
        let shown = |path: &Path| path.display().to_string();
        Ok(Self {
            known: vec![
                (shown(directory), "DIR"),
                (program.to_owned(), "PROGRAM"),
                (shown(&std::fs::canonicalize("/bin/sh")?), "SHELL"),
                (shown(&std::env::current_dir()?), "START"),
            ],
        })
    }

    /// Replaces the names in every string of `value`.
    pub fn normalise(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.text(&text).into(),
            Value::Array(values) => values.into_iter().map(|it| self.normalise(it)).collect(),
            Value::Object(fields) => {
                let normal = |(name, value): (String, Value)| {
                    let value = if name.ends_with("B64") {
                        decoded(value)
                    } else {
                        value
                    };
                    (name, self.normalise(value))
                };
                Value::Object(fields.into_iter().map(normal).collect::<Map<_, _>>())
            }
            other => other,
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, stands) in &self.known {
            if text == *name {
                text = (*stands).to_owned();
            } else if let Some(rest) = text.strip_prefix(name.as_str())
                && rest.starts_with('/')
            {
                text = format!("{stands}{rest}");
            }
        }
        for (sign, word) in NUMBERS {
            text = without_numbers(&text, sign, word);
        }
        runs_counted(&names_counted(&text))
    }
}

/// Decodes bytes, which can contain names of one run.
fn decoded(value: Value) -> Value {
    match value {
        Value::Array(values) => values.into_iter().map(decoded).collect(),
        Value::String(text) => match STANDARD.decode(&text) {
            Ok(bytes) => bytes.escape_ascii().to_string().into(),
            Err(_) => text.into(),
        },
        other => other,
    }
}

/// Replaces digits and dots after the prefix. A single 0 is the same in every run,
/// and stays.
fn without_numbers(text: &str, sign: &str, word: &str) -> String {
    let mut parts = text.split(sign);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(sign);
        let rest = part.trim_start_matches(|byte: char| byte.is_ascii_digit() || byte == '.');
        let number = &part[..part.len() - rest.len()];
        out.push_str(if number.is_empty() || number == "0" {
            number
        } else {
            word
        });
        out.push_str(rest);
    }
    out
}

/// Counts a name that is repeated below itself.
fn names_counted(text: &str) -> String {
    let mut out: Vec<(&str, usize)> = Vec::new();
    for name in text.split('/') {
        match out.last_mut() {
            Some((last, count)) if *last == name && !name.is_empty() => *count += 1,
            _ => out.push((name, 1)),
        }
    }
    let counted = |(name, count): (&str, usize)| match count {
        1 => name.to_owned(),
        _ => format!("{name}{{/{count}}}"),
    };
    out.into_iter().map(counted).collect::<Vec<_>>().join("/")
}

fn runs_counted(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        let mut count = 1;
        while rest.next_if_eq(&first).is_some() {
            count += 1;
        }
        if count >= RUN {
            out.push_str(&format!("{first}{{{count}}}"));
        } else {
            out.extend(std::iter::repeat_n(first, count));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_run_chose_is_named_by_what_it_is() {
        let names = Names {
            known: vec![("/tmp/x1".into(), "DIR"), ("/bin/p".into(), "PROGRAM")],
        };
        let said = json!({
            "path": "/tmp/x1/a", "exe": "/bin/p", "other": "/tmp/x12",
            "local": "127.0.0.1:4711", "any": "0.0.0.0:0", "server": "127.53.2.9:53",
            "fd": "/proc/17/fd/3", "pathB64": STANDARD.encode(b"/tmp/x1/\xff"),
            "argv": ["n".repeat(30), "nn"], "deep": "/a/b/b/b/c",
        });
        let normal = json!({
            "path": "DIR/a", "exe": "PROGRAM", "other": "/tmp/x12",
            "local": "127.0.0.1:PORT", "any": "0.0.0.0:0", "server": "127.53.N.N:53",
            "fd": "/proc/PID/fd/3", "pathB64": "DIR/\\xff",
            "argv": ["n{30}", "nn"], "deep": "/a/b{/3}/c",
        });
        assert_eq!(names.normalise(said), normal);
    }

    #[test]
    fn a_process_is_called_by_its_line_of_descent() {
        let process = |pid: u64, tid: u64| json!({"pid": pid, "tid": tid, "startTimeNs": pid});
        let fork = |of: u64, child: u64| {
            json!({"process": process(of, of),
                "fork": {"childPid": child, "childStartTimeNs": child}})
        };
        let start = json!({"process": process(1, 1), "sessionStart": {}});
        // Records of two rings come in any order.
        let parts = Parts::of(&[fork(2, 3), start, fork(1, 2)]);
        assert_eq!(parts.name(&process(1, 1)), "main");
        assert_eq!(parts.name(&process(1, 9)), "main/thread");
        assert_eq!(parts.name(&process(3, 3)), "main/child/child");
        assert_eq!(parts.name(&process(4, 4)), "stranger/child");
    }
}
