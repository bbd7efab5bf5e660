//! The interface of an output format.

use std::io::{self, Write};

use crate::record::{StreamId, proto};

/// Receives records and writes them in one output format.
pub trait View {
    /// Takes a record. A format that needs no later record writes it at once.
    ///
    /// # Errors
    ///
    /// Errors of the output.
    fn show(&mut self, stream: StreamId, record: &proto::Record) -> io::Result<()>;

    /// Flushes the output, so that a reader sees the records so far.
    ///
    /// # Errors
    ///
    /// Errors of the output.
    fn flush(&mut self) -> io::Result<()>;

    /// Writes the rest, after the last record.
    ///
    /// # Errors
    ///
    /// Errors of the output.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

/// The output of a view.
pub(in crate::replay) type Output<'a> = &'a mut dyn Write;
