//! Work that left a session, and its heirs, as JSON.

use serde_json::json;

use super::{Object, bytes, object};
use crate::record::{SessionId, proto};

pub(super) fn hand_off_json(handed: &proto::HandOff) -> Object {
    let proto::HandOff { way: _, to } = handed;
    let mut out = object([("way", json!(handed.way().as_str_name()))]);
    bytes(&mut out, "to", to);
    out
}

pub(super) fn heir_json(heir: &proto::Heir) -> Object {
    let proto::Heir {
        file,
        script,
        joined,
        written_boot_ns,
    } = heir;
    let mut out = object([
        ("script", json!(script)),
        ("writtenBootNs", json!(written_boot_ns)),
    ]);
    bytes(&mut out, "file", file);
    if let Some(session) = SessionId::from_bytes(joined) {
        out.insert("joined".into(), json!(session.to_string()));
    }
    out
}
