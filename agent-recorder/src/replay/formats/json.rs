//! Records as JSON objects, one a line.

use std::io::{self, Write};

use serde::Serialize as _;
use serde_json::ser::{Formatter, Serializer};
use serde_json::{Value, json};

use super::view::{Output, View};
use crate::record::{RecordKind, SessionId, StreamId, proto};
use crate::replay::escape::is_harmful;
use crate::replay::render::{Object, bytes, rendered, truncated};

/// Writes each record at once.
struct JsonView<'a> {
    out: Output<'a>,
}

pub(super) fn view(out: Output<'_>) -> Box<dyn View + '_> {
    Box::new(JsonView { out })
}

impl View for JsonView<'_> {
    fn show(&mut self, stream: StreamId, record: &proto::Record) -> io::Result<()> {
        write_json(self.out, stream, record)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()
    }
}

/// Writes one record as a line. Characters that a terminal interprets are escaped
/// (RFC 8259 section 7).
///
/// # Errors
///
/// Errors of `out`.
pub fn write_json(
    mut out: &mut dyn Write,
    stream: StreamId,
    record: &proto::Record,
) -> io::Result<()> {
    let mut serializer = Serializer::with_formatter(&mut out, Harmless);
    to_json(stream, record).serialize(&mut serializer)?;
    out.write_all(b"\n")
}

/// Escapes harmful characters from U+0020 on; JSON itself escapes those below.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_harmful) {
            let (before, behind) = rest.split_at(at);
            out.write_all(before.as_bytes())?;
            let mut behind = behind.chars();
            if let Some(character) = behind.next() {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}")?;
                }
            }
            rest = behind.as_str();
        }
        out.write_all(rest.as_bytes())
    }
}

/// One record as an object.
pub(in crate::replay) fn to_json(stream: StreamId, record: &proto::Record) -> Value {
    let proto::Record {
        seq,
        session_id,
        time_unix_ns,
        time_boot_ns,
        chain: _,
        process,
        body,
    } = record;
    let mut object = Object::new();
    object.insert("seq".into(), json!(seq));
    object.insert("streamId".into(), json!(stream.to_string()));
    if let Some(session) = SessionId::from_bytes(session_id) {
        object.insert("sessionId".into(), json!(session.to_string()));
    }
    object.insert("time".into(), json!(rfc3339(*time_unix_ns)));
    object.insert("bootNs".into(), json!(time_boot_ns));
    if let Some(process) = process {
        object.insert("process".into(), process_json(process).into());
    }
    let of_body = body
        .as_ref()
        .map(|body| rendered(body).json())
        .unwrap_or_default();
    let name = RecordKind::of(body.as_ref()).name();
    object.insert(name.into(), of_body.into());
    object.into()
}

/// A time in RFC 3339 with nanoseconds, UTC.
pub(super) fn rfc3339(unix_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(unix_ns.into())
        .map_or_else(|_| unix_ns.to_string(), |time| format!("{time:.9}"))
}

fn process_json(process: &proto::Process) -> Object {
    let proto::Process {
        pid,
        ppid,
        tid,
        start_time_ns,
        uid,
        loginuid,
        comm,
        exe,
        cwd,
        cgroup,
        exe_truncated,
        cwd_truncated,
    } = process;
    let mut object = Object::new();
    object.insert("pid".into(), json!(pid));
    object.insert("ppid".into(), json!(ppid));
    object.insert("tid".into(), json!(tid));
    object.insert("startTimeNs".into(), json!(start_time_ns));
    object.insert("uid".into(), json!(uid));
    if let Some(loginuid) = loginuid {
        object.insert("loginuid".into(), json!(loginuid));
    }
    bytes(&mut object, "comm", comm);
    bytes(&mut object, "exe", exe);
    bytes(&mut object, "cwd", cwd);
    bytes(&mut object, "cgroup", cgroup);
    truncated(&mut object, "exe", *exe_truncated, 0);
    truncated(&mut object, "cwd", *cwd_truncated, 0);
    object
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;
    use proto::record::Body;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped_and_read_back_as_it_was() {
        let path = "/a\u{7f}\u{9b}2J\u{202e}gpj\u{1b}.grün";
        let record = proto::Record {
            body: Some(Body::File(proto::File {
                path: path.into(),
                ..Default::default()
            })),
            ..Default::default()
        };
        let mut line = Vec::new();
        write_json(&mut line, StreamId::generate(), &record).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert!(!line.trim_end().contains(is_harmful), "{line}");
        assert!(line.contains("grün"), "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["file"]["path"], path);
    }
}
