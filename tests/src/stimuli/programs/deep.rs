//! Goes down a chain of directories that have one name, and makes and removes
//! a file at its end: where no call can name it by its whole path.

use std::ffi::OsString;

use anyhow::{Context as _, bail};

const USAGE: &str = "stimulus deep DIRECTORY NAME LEVELS";

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let [top, name, levels] = words else {
        bail!(USAGE);
    };
    let levels: usize = levels.to_str().context(USAGE)?.parse()?;
    std::env::set_current_dir(top)?;
    for _ in 0..levels {
        std::env::set_current_dir(name)?;
    }
    std::fs::write("leaf", "")?;
    Ok(std::fs::remove_file("leaf")?)
}
