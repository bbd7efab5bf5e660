//! Showing what was recorded: which records, and how they read.
//!
//! Not here: how records are stored (`spool`). Nothing here changes a store.

mod acts;
mod escape;
mod filter;
mod html;
mod json;
mod render;
mod select;
mod text;
mod tree;

pub use acts::{Act, Acts};
pub use escape::escaped;
pub use filter::{Filter, FilterError, Wanted};
pub use html::Page;
pub use json::to_json;
pub use select::{Reader, SelectError, SessionChoice};
pub use text::{TextWriter, act_line};
pub use tree::Tree;
