//! The forms of a record's message.

use super::fields::Object;

/// A message that can be shown.
pub(in crate::replay) trait Render {
    /// The message as a JSON object. An implementation destructures the message, so
    /// that a new field does not compile unless it is shown.
    fn json(&self) -> Object;

    /// The message as text, with all of it escaped.
    fn line(&self) -> String;

    /// The errno of an act; 0 on success.
    fn errno(&self) -> u32 {
        0
    }
}
