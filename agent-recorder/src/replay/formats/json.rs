//! Records as JSON objects, one a line.

use std::io;

use serde_json::{Value, json};

use super::view::{Output, View};
use crate::record::{RecordKind, SessionId, StreamId, proto};
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
        writeln!(self.out, "{}", to_json(stream, record))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        self.flush()
    }
}

/// One record as an object.
pub fn to_json(stream: StreamId, record: &proto::Record) -> Value {
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

/// RFC 3339 with nanoseconds, UTC.
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
