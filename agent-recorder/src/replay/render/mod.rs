//! How each kind of record reads: as JSON, and as one line.
//!
//! Not here: what all records have in common (`json`, `text`), and how records
//! are put together (the views).

mod fields;
mod file;
mod guard;
mod hand_off;
mod network;
mod process;
mod recorder;
mod session;

use crate::record::kinds::record_kinds;
use crate::record::proto;
pub(super) use fields::{Object, bytes};
pub(super) use process::command;
use proto::record::Body;
pub(super) use session::authority_line;

/// A message as it is shown.
pub(super) trait Render {
    /// As a JSON object. An implementation takes the message apart field by
    /// field, so that a new one cannot be forgotten.
    fn json(&self) -> Object;

    /// In words, all of it escaped.
    fn line(&self) -> String;

    /// The errno of an act that failed, 0 of one that did not.
    fn errno(&self) -> u32 {
        0
    }
}

macro_rules! define_rendered {
    ($($kind:ident $name:literal,)*) => {
        /// The message of a body.
        pub(super) fn rendered(body: &Body) -> &dyn Render {
            match body {
                $(Body::$kind(message) => message,)*
            }
        }
    };
}
record_kinds!(define_rendered);

/// A record's body in words, with its error.
pub(super) fn line(body: Option<&Body>) -> String {
    let Some(message) = body.map(rendered) else {
        return "a kind of record that this version does not know".to_owned();
    };
    match message.errno() {
        0 => message.line(),
        errno => format!("{}  ! {}", message.line(), fields::error_name(errno)),
    }
}
