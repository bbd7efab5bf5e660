//! The form of each kind of record: as JSON, and as one line.
//!
//! Not here: the fields that all records have, and the output as a whole (`formats`).

mod fields;
mod file;
mod guard;
mod hand_off;
mod message;
mod network;
mod process;
mod recorder;
mod session;

use self::message::Render;
use crate::record::kinds::record_kinds;
use crate::record::proto;
pub(super) use fields::{Object, bytes, truncated};
pub(super) use process::command;
use proto::record::Body;
pub(super) use session::authority_line;

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

/// A record's body as text, with its error.
pub(super) fn line(body: Option<&Body>) -> String {
    let Some(message) = body.map(rendered) else {
        return "a kind of record that this version does not know".to_owned();
    };
    match message.errno() {
        0 => message.line(),
        errno => format!("{}  ! {}", message.line(), fields::error_name(errno)),
    }
}
