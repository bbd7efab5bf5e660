//! Connects to the unix socket of this name, and ends.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;

use anyhow::Context as _;

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let name = words.first().context("the name of a socket")?;
    UnixStream::connect(name)?;
    Ok(())
}
