//! Showing what was recorded: which records, and how they read.
//!
//! Not here: how records are stored (`spool`). Nothing here changes a store.

mod escape;
mod json;
mod select;
mod text;
mod tree;

pub use escape::escaped;
pub use json::to_json;
pub use select::{Reader, SelectError, SessionChoice};
pub use text::TextWriter;
pub use tree::Tree;
