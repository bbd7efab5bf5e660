//! A path that was recorded, as later records repeat it.

use std::sync::Arc;

/// A path that later records repeat.
#[derive(Clone, Debug, Default)]
pub struct KnownPath {
    /// Its bytes; of one that was cut, those that were kept.
    pub bytes: Arc<[u8]>,
    /// It was cut.
    pub truncated: bool,
}

impl KnownPath {
    /// Of these bytes, or what was kept of them.
    pub fn new(bytes: &[u8], truncated: bool) -> Self {
        Self {
            bytes: bytes.into(),
            truncated,
        }
    }
}
