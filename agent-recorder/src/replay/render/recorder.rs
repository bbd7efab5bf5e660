//! Events of the recorder itself.

use serde_json::json;

use super::fields::{Object, kind_counts, object};
use super::message::Render;
use crate::record::proto;
use crate::replay::escaped;

impl Render for proto::Loss {
    fn json(&self) -> Object {
        let proto::Loss {
            stage,
            count,
            kinds,
            first_seq,
            last_seq,
            was_durable,
            freed,
        } = self;
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

    fn line(&self) -> String {
        let numbers = match self.first_seq {
            0 => String::new(),
            first => format!(", numbers {first} to {}", self.last_seq),
        };
        format!(
            "LOSS     {} records at {}{numbers}",
            self.count,
            escaped(self.stage.as_bytes())
        )
    }
}

impl Render for proto::StreamEvent {
    fn json(&self) -> Object {
        let proto::StreamEvent {
            event,
            detail,
            version,
        } = self;
        object([
            ("event", json!(event)),
            ("detail", json!(detail)),
            ("version", json!(version)),
        ])
    }

    fn line(&self) -> String {
        format!(
            "{} {}",
            escaped(self.event.as_bytes()),
            escaped(self.detail.as_bytes())
        )
    }
}
