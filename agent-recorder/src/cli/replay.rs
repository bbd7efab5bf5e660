//! `replay`: what happened.

use std::process::ExitCode;
use super::{Common, Error};

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The session's id or `last`.
    #[arg(default_value = "last")]
    session: String,
}

/// Debug output until the replay room is in.
pub fn run(_args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let store = crate::spool::Store::open(&common.state_dir().join("spool"))?;
    for stream in store.streams()? {
        let mut cursor = store.cursor(stream)?;
        while let Some(item) = cursor.next()? { println!("{item:?}"); }
    }
    Ok(ExitCode::SUCCESS)
}
