//! Two multisets of operations, both ways: done and not recorded, recorded and not done.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Fields of `file` that a comparison looks at.
const FILE: &[&str] = &[
    "op", "path", "pathB64", "newPath", "mode", "flags", "length", "xattr", "error", "via", "uid",
    "gid",
];

/// Reads what a stimulus said.
///
/// # Errors
///
/// A line is not JSON.
pub fn said(stdout: &[u8]) -> anyhow::Result<Vec<Value>> {
    stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Ok(serde_json::from_slice(line)?))
        .collect()
}

/// File records under a directory, in the shape that stimulus programs say.
pub fn files_under(records: &[Value], directory: &str) -> Vec<Value> {
    records
        .iter()
        .filter_map(|record| {
            let file = record.get("file")?.as_object()?;
            let inside = |name: &str| {
                file.get(name)
                    .and_then(Value::as_str)
                    .is_some_and(|path| path.starts_with(directory))
            };
            if !inside("path") && !inside("newPath") {
                return None;
            }
            let process = record.get("process")?;
            let mut line = Map::new();
            for name in ["pid", "tid", "ppid"] {
                line.insert(name.to_owned(), process.get(name)?.clone());
            }
            line.insert("file".to_owned(), file.clone().into());
            Some(line.into())
        })
        .collect()
}

/// What was done and not recorded, and what was recorded and not done, as readable lines.
pub fn differences(done: &[Value], recorded: &[Value]) -> (Vec<String>, Vec<String>) {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    // A stimulus that does not say a field does not claim anything of it.
    let fields = |line: &Value, like: &Value| key(line, like);
    let shapes: Vec<&Value> = done.iter().collect();
    for line in done {
        *counts.entry(fields(line, line)).or_default() += 1;
    }
    for line in recorded {
        let matching = shapes
            .iter()
            .map(|shape| fields(line, shape))
            .find(|key| counts.get(key).is_some_and(|count| *count > 0));
        let key = matching.unwrap_or_else(|| fields(line, line));
        *counts.entry(key).or_default() -= 1;
    }
    let missing = counts
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(key, count)| format!("{count} × {key}"))
        .collect();
    let spurious = counts
        .iter()
        .filter(|(_, count)| **count < 0)
        .map(|(key, count)| format!("{} × {key}", -count))
        .collect();
    (missing, spurious)
}

fn key(line: &Value, like: &Value) -> String {
    let mut parts = Vec::new();
    for name in ["pid", "tid", "ppid"] {
        parts.push(format!("{name}={}", line.get(name).unwrap_or(&Value::Null)));
    }
    let (file, shape) = (
        line.get("file").unwrap_or(&Value::Null),
        like.get("file").unwrap_or(&Value::Null),
    );
    for name in FILE {
        if shape.get(name).is_some() || *name == "error" {
            parts.push(format!("{name}={}", file.get(name).unwrap_or(&Value::Null)));
        }
    }
    parts.join(" ")
}
