//! What every output format is to those who choose one.
//!
//! Not here: the formats themselves, a file each, and which records they are
//! given (`select`, `filter`).

use std::fmt;
use std::io::{self, Write};

use crate::record::{StreamId, proto};

/// Records on their way to one output format.
pub trait View {
    /// Takes a record in, and writes it where the format can before its end.
    ///
    /// # Errors
    ///
    /// Those of the output.
    fn show(&mut self, stream: StreamId, record: &proto::Record) -> io::Result<()>;

    /// Lets a reader see what was written so far.
    ///
    /// # Errors
    ///
    /// Those of the output.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes what is left, after the last record.
    ///
    /// # Errors
    ///
    /// Those of the output.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// Where a view writes to.
pub(super) type Output<'a> = &'a mut dyn Write;

/// An output format.
pub struct Format {
    /// The word of `--format`.
    pub name: &'static str,
    /// What it is, for `--help`.
    pub about: &'static str,
    pub(super) view: for<'a> fn(Output<'a>) -> Box<dyn View + 'a>,
}

impl Format {
    /// The format of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        super::FORMATS.iter().find(|format| format.name == name)
    }

    /// A view that writes to `out`.
    pub fn view<'a>(&self, out: &'a mut dyn Write) -> Box<dyn View + 'a> {
        (self.view)(out)
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Format").field(&self.name).finish()
    }
}
