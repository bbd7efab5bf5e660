//! Records as JSON objects, one a line.
//!
//! Names are lowerCamelCase, enums their names, an errno its name, an address
//! "addr:port", "[v6]:port" or a unix path ("@name" for an abstract one). Bytes
//! that are not UTF-8 are shown with replacement characters and given exactly
//! in a sibling `…B64` (RFC 4648 section 4).

mod enforcement;
mod handoff;
mod network;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::record::{RecordKind, SessionId, StreamId, errno_name, proto};
use enforcement::{enforcement_json, tamper_json};
use handoff::{hand_off_json, heir_json};
pub(super) use network::address_name;
use network::{dns_json, network_json};
use proto::record::Body;

type Object = Map<String, Value>;

/// One record as an object. Each message is taken apart field by field, so that a new one cannot be forgotten.
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
    let of_body = body.as_ref().map(body_json).unwrap_or_default();
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
    object
}

/// Text, and the exact bytes beside it where it is not UTF-8.
fn bytes(object: &mut Object, name: &str, bytes: &[u8]) {
    object.insert(name.into(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{name}B64"), STANDARD.encode(bytes).into());
    }
}

fn body_json(body: &Body) -> Object {
    match body {
        Body::SessionStart(start) => session_start(start),
        Body::SessionEnd(end) => session_end(end),
        Body::Exec(exec) => exec_json(exec),
        Body::Fork(fork) => fork_json(fork),
        Body::Exit(exit) => exit_json(exit),
        Body::File(file) => file_json(file),
        Body::Network(network) => network_json(network),
        Body::Dns(dns) => dns_json(dns),
        Body::Enforcement(enforcement) => enforcement_json(enforcement),
        Body::Loss(loss) => loss_json(loss),
        Body::StreamEvent(event) => stream_event(event),
        Body::Control(control) => control_json(control),
        Body::HandOff(handed) => hand_off_json(handed),
        Body::Heir(heir) => heir_json(heir),
        Body::Tamper(tamper) => tamper_json(tamper),
    }
}

fn stream_event(event: &proto::StreamEvent) -> Object {
    let proto::StreamEvent {
        event,
        detail,
        version,
    } = event;
    object([
        ("event", json!(event)),
        ("detail", json!(detail)),
        ("version", json!(version)),
    ])
}

fn object<const N: usize>(pairs: [(&str, Value); N]) -> Object {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn session_start(start: &proto::SessionStart) -> Object {
    let proto::SessionStart {
        agent,
        rule,
        authority,
        name,
        origin: _,
        host,
        boot_id,
        profile,
    } = start;
    let mut out = object([
        ("agent", json!(agent)),
        ("rule", json!(rule)),
        ("origin", json!(start.origin().as_str_name())),
    ]);
    if !name.is_empty() {
        out.insert("name".into(), json!(name));
    }
    bytes(&mut out, "host", host);
    out.insert("bootId".into(), json!(boot_id));
    out.insert("profile".into(), json!(profile));
    if let Some(authority) = authority {
        out.insert("authority".into(), authority_json(authority).into());
    }
    out
}

fn authority_json(authority: &proto::Authority) -> Object {
    let proto::Authority {
        uid,
        gid,
        user,
        loginuid,
        login_user,
        tty,
        ssh_connection,
        sudo_user,
        capabilities,
        ancestors,
    } = authority;
    let mut out = object([
        ("uid", json!(uid)),
        ("gid", json!(gid)),
        ("user", json!(user)),
    ]);
    if let Some(loginuid) = loginuid {
        out.insert("loginuid".into(), json!(loginuid));
        out.insert("loginUser".into(), json!(login_user));
    }
    if !tty.is_empty() {
        bytes(&mut out, "tty", tty);
    }
    if !ssh_connection.is_empty() {
        out.insert("sshConnection".into(), json!(ssh_connection));
    }
    if !sudo_user.is_empty() {
        out.insert("sudoUser".into(), json!(sudo_user));
    }
    out.insert("capabilities".into(), json!(format!("{capabilities:016x}")));
    let ancestors: Vec<Value> = ancestors
        .iter()
        .map(
            |proto::Ancestor {
                 pid,
                 start_time_ns,
                 uid,
                 comm,
                 exe,
             }| {
                let mut out = object([
                    ("pid", json!(pid)),
                    ("startTimeNs", json!(start_time_ns)),
                    ("uid", json!(uid)),
                ]);
                bytes(&mut out, "comm", comm);
                bytes(&mut out, "exe", exe);
                out.into()
            },
        )
        .collect();
    out.insert("ancestors".into(), ancestors.into());
    out
}

fn session_end(end: &proto::SessionEnd) -> Object {
    let proto::SessionEnd { reason: _, totals } = end;
    let mut out = object([("reason", json!(end.reason().as_str_name()))]);
    if let Some(totals) = totals {
        let proto::Totals {
            records,
            processes,
            execs,
            files_destroyed,
            duration_ns,
            produced,
            delivered,
            lost,
            guard_counted,
        } = totals;
        let totals = object([
            ("records", json!(records)),
            ("processes", json!(processes)),
            ("execs", json!(execs)),
            ("filesDestroyed", json!(files_destroyed)),
            ("durationNs", json!(duration_ns)),
            ("produced", kind_counts(produced)),
            ("delivered", kind_counts(delivered)),
            ("lost", kind_counts(lost)),
            ("guardCounted", json!(guard_counted)),
        ]);
        out.insert("totals".into(), totals.into());
    }
    out
}

fn kind_counts(counts: &[proto::KindCount]) -> Value {
    counts
        .iter()
        .map(|proto::KindCount { kind, count }| json!({"kind": kind, "count": count}))
        .collect()
}

fn exec_json(exec: &proto::Exec) -> Object {
    let proto::Exec {
        exe,
        argv,
        argv_truncated,
        cwd,
        error: errno,
        filename,
        dev,
        ino,
        argv_bytes,
        fileless,
        agent,
        path_source: _,
    } = exec;
    let mut out = Object::new();
    bytes(&mut out, "exe", exe);
    arguments(&mut out, argv);
    out.insert("argvTruncated".into(), json!(argv_truncated));
    if *argv_truncated {
        out.insert("argvBytes".into(), json!(argv_bytes));
    }
    bytes(&mut out, "cwd", cwd);
    bytes(&mut out, "filename", filename);
    if *ino != 0 {
        out.insert("dev".into(), json!(dev));
        out.insert("ino".into(), json!(ino));
    }
    if *fileless {
        out.insert("fileless".into(), json!(true));
    }
    if !agent.is_empty() {
        out.insert("agent".into(), json!(agent));
    }
    out.insert("pathSource".into(), json!(exec.path_source().as_str_name()));
    error(&mut out, *errno);
    out
}

/// Absent on success.
fn error(object: &mut Object, errno: u32) {
    if errno != 0 {
        object.insert("error".into(), error_name(errno).into());
    }
}

/// The errno's name.
pub(super) fn error_name(errno: u32) -> String {
    errno_name(errno).map_or_else(|| format!("ERRNO_{errno}"), str::to_owned)
}

fn fork_json(fork: &proto::Fork) -> Object {
    let proto::Fork {
        child_pid,
        child_start_time_ns,
        child_ppid,
    } = fork;
    object([
        ("childPid", json!(child_pid)),
        ("childStartTimeNs", json!(child_start_time_ns)),
        ("childPpid", json!(child_ppid)),
    ])
}

fn exit_json(exit: &proto::Exit) -> Object {
    let proto::Exit {
        code,
        signal,
        core_dumped,
    } = exit;
    object([
        ("code", json!(code)),
        ("signal", json!(signal)),
        ("coreDumped", json!(core_dumped)),
    ])
}

fn file_json(file: &proto::File) -> Object {
    let proto::File {
        op: _,
        path,
        new_path,
        flags,
        mode,
        dev,
        ino,
        replaced,
        error: errno,
        via: _,
        path_source: _,
        path_truncated,
        path_bytes,
        uid,
        gid,
        length,
        xattr,
        read_only,
        subvolume,
        attributes,
    } = file;
    let op = file.op();
    let mut out = object([("op", json!(op.as_str_name()))]);
    bytes(&mut out, "path", path);
    if !new_path.is_empty() {
        bytes(&mut out, "newPath", new_path);
    }
    out.insert("flags".into(), json!(flags));
    if matches!(
        op,
        proto::FileOp::Create | proto::FileOp::Mkdir | proto::FileOp::Chmod
    ) || *mode != 0
    {
        out.insert("mode".into(), json!(mode));
    }
    if *ino != 0 {
        out.insert("dev".into(), json!(dev));
        out.insert("ino".into(), json!(ino));
    }
    if *replaced {
        out.insert("replaced".into(), json!(true));
    }
    if let Some(uid) = uid {
        out.insert("uid".into(), json!(uid));
    }
    if let Some(gid) = gid {
        out.insert("gid".into(), json!(gid));
    }
    if matches!(op, proto::FileOp::Truncate | proto::FileOp::Device) {
        out.insert("length".into(), json!(length));
    }
    if !xattr.is_empty() {
        bytes(&mut out, "xattr", xattr);
    }
    if *subvolume != 0 {
        out.insert("subvolume".into(), json!(subvolume));
    }
    if op == proto::FileOp::Attributes {
        out.insert("attributes".into(), json!(attributes));
    }
    if *read_only {
        out.insert("readOnly".into(), json!(true));
    }
    error(&mut out, *errno);
    out.insert("via".into(), json!(file.via().as_str_name()));
    out.insert("pathSource".into(), json!(file.path_source().as_str_name()));
    if *path_truncated {
        out.insert("pathTruncated".into(), json!(true));
        out.insert("pathBytes".into(), json!(path_bytes));
    }
    out
}

fn control_json(control: &proto::ControlAct) -> Object {
    let proto::ControlAct {
        op: _,
        target_pid,
        signal,
        command,
        error: errno,
        nested,
    } = control;
    let op = control.op();
    let mut out = object([("op", json!(op.as_str_name()))]);
    if op != proto::ControlOp::Bpf {
        out.insert("targetPid".into(), json!(target_pid));
    }
    if op == proto::ControlOp::Signal {
        out.insert("signal".into(), json!(signal));
    } else {
        out.insert("command".into(), json!(command));
    }
    if *nested {
        out.insert("nested".into(), json!(true));
    }
    error(&mut out, *errno);
    out
}

/// A program's arguments.
fn arguments(out: &mut Object, argv: &[Vec<u8>]) {
    let text: Vec<Value> = argv
        .iter()
        .map(|argument| String::from_utf8_lossy(argument).into())
        .collect();
    out.insert("argv".into(), text.into());
    if argv
        .iter()
        .any(|argument| std::str::from_utf8(argument).is_err())
    {
        // As long as argv: each argument exactly.
        let exact: Vec<Value> = argv
            .iter()
            .map(|argument| STANDARD.encode(argument).into())
            .collect();
        out.insert("argvB64".into(), exact.into());
    }
}

fn loss_json(loss: &proto::Loss) -> Object {
    let proto::Loss {
        stage,
        count,
        kinds,
        first_seq,
        last_seq,
        was_durable,
        freed,
    } = loss;
    let mut out = object([
        ("stage", json!(stage)),
        ("count", json!(count)),
        ("kinds", kind_counts(kinds)),
    ]);
    if *first_seq != 0 {
        out.insert("firstSeq".into(), json!(first_seq));
        out.insert("lastSeq".into(), json!(last_seq));
        out.insert("wasDurable".into(), json!(was_durable));
        out.insert("freed".into(), json!(freed));
    }
    out
}
