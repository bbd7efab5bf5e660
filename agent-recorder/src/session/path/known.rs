//! A path of a record, for later records that repeat it.

use std::sync::Arc;

/// A path that later records repeat.
#[derive(Clone, Debug, Default)]
pub struct KnownPath {
    /// The bytes that were recorded; of a cut path, the recorded part.
    pub bytes: Arc<[u8]>,
    /// Whether the path was cut.
    pub truncated: bool,
}

impl KnownPath {
    /// A path of these bytes.
    pub fn new(bytes: &[u8], truncated: bool) -> Self {
        Self {
            bytes: bytes.into(),
            truncated,
        }
    }
}
