//! Working state of a program: its scratch area, the current call, the maps.
//!
//! Not here: code that works on them.

pub(crate) mod areas;
pub(crate) mod call;
pub(crate) mod maps;
pub(crate) mod operation;
pub(crate) mod scratch;
