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
mod view;

pub use acts::{Act, Acts};
pub use escape::escaped;
pub use filter::{Filter, FilterError, Wanted};
pub use json::to_json;
pub use select::{Reader, SelectError, SessionChoice};
pub use text::act_line;
pub use view::{Format, View};

/// The output formats, the default first: a new one is a file with a view, and
/// a row here.
#[rustfmt::skip]
pub const FORMATS: &[Format] = &[
    Format { name: "text", about: "One line a record", view: text::view },
    Format { name: "tree", about: "The tree of processes", view: tree::view },
    Format { name: "json", about: "One JSON object a line", view: json::view },
    Format { name: "html", about: "One page that needs nothing else", view: html::view },
];
