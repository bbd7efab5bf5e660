//! What a program works on: its area, the call that it looks at, the maps.
//!
//! Not here: what is done with them.

pub(crate) mod areas;
pub(crate) mod call;
pub(crate) mod maps;
pub(crate) mod operation;
pub(crate) mod scratch;
