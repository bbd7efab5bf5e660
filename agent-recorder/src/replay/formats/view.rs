//! What every output format does with records.

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
pub(in crate::replay) type Output<'a> = &'a mut dyn Write;
