//! Building blocks of a record's JSON and text forms.
//!
//! Names are lowerCamelCase, enums their names, an errno its name. Bytes that are not
//! UTF-8 have replacement characters, and a sibling `…B64` has the exact bytes (RFC
//! 4648 section 4).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::record::{errno_name, proto};
use crate::replay::escaped;

pub(in crate::replay) type Object = Map<String, Value>;

pub(in crate::replay) fn object<const N: usize>(pairs: [(&str, Value); N]) -> Object {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A text, and its exact bytes where it is not UTF-8.
pub(in crate::replay) fn bytes(object: &mut Object, name: &str, bytes: &[u8]) {
    object.insert(name.into(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{name}B64"), STANDARD.encode(bytes).into());
    }
}

/// `NAMETruncated` of a cut path, and `NAMEBytes` where its length is known. A whole
/// path has neither.
pub(in crate::replay) fn truncated(
    object: &mut Object,
    name: &str,
    is_truncated: bool,
    length: u64,
) {
    if is_truncated {
        object.insert(format!("{name}Truncated"), json!(true));
        if length != 0 {
            object.insert(format!("{name}Bytes"), json!(length));
        }
    }
}

/// A path as text, with a mark where something is missing: before a tail of known
/// length, or after a beginning.
pub(in crate::replay) fn path(bytes: &[u8], is_truncated: bool, length: u64) -> String {
    let shown = escaped(bytes);
    match (is_truncated, length) {
        (false, _) => shown,
        (true, 0) => format!("{shown}…"),
        (true, _) => format!("…{shown}"),
    }
}

/// A path as text that, where it is cut, is a tail.
pub(in crate::replay) fn tail(bytes: &[u8], is_truncated: bool) -> String {
    let cut = if is_truncated { "…" } else { "" };
    format!("{cut}{}", escaped(bytes))
}

/// A program's arguments.
pub(in crate::replay) fn arguments(out: &mut Object, argv: &[Vec<u8>]) {
    let text: Vec<Value> = argv
        .iter()
        .map(|argument| String::from_utf8_lossy(argument).into())
        .collect();
    out.insert("argv".into(), text.into());
    if argv
        .iter()
        .any(|argument| std::str::from_utf8(argument).is_err())
    {
        // The exact arguments, in an array of the length of `argv`.
        let exact: Vec<Value> = argv
            .iter()
            .map(|argument| STANDARD.encode(argument).into())
            .collect();
        out.insert("argvB64".into(), exact.into());
    }
}

/// The error of an act; absent on success.
pub(in crate::replay) fn error(object: &mut Object, errno: u32) {
    if errno != 0 {
        object.insert("error".into(), error_name(errno).into());
    }
}

/// The errno's name.
pub(in crate::replay) fn error_name(errno: u32) -> String {
    errno_name(errno).map_or_else(|| format!("ERRNO_{errno}"), str::to_owned)
}

pub(in crate::replay) fn kind_counts(counts: &[proto::KindCount]) -> Value {
    counts
        .iter()
        .map(|proto::KindCount { kind, count }| json!({"kind": kind, "count": count}))
        .collect()
}
