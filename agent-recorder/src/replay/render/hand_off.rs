//! Work that left a session, and its heirs.

use serde_json::json;

use super::fields::{Object, bytes, object, tail, truncated};
use super::message::Render;
use crate::record::{SessionId, proto};

impl Render for proto::HandOff {
    fn json(&self) -> Object {
        let proto::HandOff {
            way: _,
            to,
            to_truncated,
        } = self;
        let mut out = object([("way", json!(self.way().as_str_name()))]);
        bytes(&mut out, "to", to);
        truncated(&mut out, "to", *to_truncated, 0);
        out
    }

    fn line(&self) -> String {
        format!(
            "HANDOFF  {} {}",
            self.way().as_str_name(),
            tail(&self.to, self.to_truncated)
        )
    }
}

impl Render for proto::Heir {
    fn json(&self) -> Object {
        let proto::Heir {
            file,
            script,
            joined,
            written_boot_ns,
            file_truncated,
        } = self;
        let mut out = object([
            ("script", json!(script)),
            ("writtenBootNs", json!(written_boot_ns)),
        ]);
        bytes(&mut out, "file", file);
        truncated(&mut out, "file", *file_truncated, 0);
        if let Some(session) = SessionId::from_bytes(joined) {
            out.insert("joined".into(), json!(session.to_string()));
        }
        out
    }

    fn line(&self) -> String {
        let joins = match SessionId::from_bytes(&self.joined) {
            Some(session) => format!(", and joins {session}"),
            None => String::new(),
        };
        let file = tail(&self.file, self.file_truncated);
        format!("HEIR     starts {file}{joins}")
    }
}
