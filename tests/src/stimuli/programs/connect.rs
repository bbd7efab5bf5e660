//! Connects to the unix socket that it is given the name of, and ends.

use std::os::unix::net::UnixStream;

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let name = std::env::args_os().nth(1).context("the name of a socket")?;
    UnixStream::connect(name)?;
    Ok(())
}
