//! What every message of a record's body can be shown as.

use super::fields::Object;

/// A message as it is shown.
pub(in crate::replay) trait Render {
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
