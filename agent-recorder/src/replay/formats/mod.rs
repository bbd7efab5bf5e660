//! The output formats: one file with a view for each, and their list.
//!
//! Not here: rendering a record of one kind (`render`), and selecting records
//! (`select`, `filter`).

mod html;
mod json;
mod text;
mod tree;
mod view;

use std::fmt;
use std::io::Write;

pub(super) use json::to_json;
pub use json::write_json;
pub use text::act_line;
use view::Output;
pub use view::View;

/// The output formats, the default first. A new one needs a file with a view, its
/// `mod` line and a row here.
#[rustfmt::skip]
pub const FORMATS: &[Format] = &[
    Format { name: "text", about: "One line a record", view: text::view },
    Format { name: "tree", about: "The tree of processes", view: tree::view },
    Format { name: "json", about: "One JSON object a line", view: json::view },
    Format { name: "html", about: "One page that needs nothing else", view: html::view },
];

/// An output format.
pub struct Format {
    /// The word of `--format`.
    pub name: &'static str,
    /// Description for `--help`.
    pub about: &'static str,
    view: for<'a> fn(Output<'a>) -> Box<dyn View + 'a>,
}

impl Format {
    /// The format of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FORMATS.iter().find(|format| format.name == name)
    }

    /// Creates a view that writes to `out`.
    pub fn view<'a>(&self, out: &'a mut dyn Write) -> Box<dyn View + 'a> {
        (self.view)(out)
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Format").field(&self.name).finish()
    }
}
