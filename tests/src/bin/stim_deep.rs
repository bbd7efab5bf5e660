//! Creates and removes a file at the end of a path that is longer than a call
//! can name: `stim_deep TOP NAME LEVELS` goes down from TOP, a directory NAME
//! at a time. A shell would ask for its working directory's name, which
//! getcwd(2) cannot tell. The directories are made and removed by who runs it.

use std::env;
use std::fs;

use anyhow::Context as _;

const USAGE: &str = "stim_deep TOP NAME LEVELS";

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let top = arguments.next().context(USAGE)?;
    let name = arguments.next().context(USAGE)?;
    let levels = arguments.next().context(USAGE)?;
    let levels: usize = levels.to_str().context(USAGE)?.parse().context(USAGE)?;
    env::set_current_dir(&top).with_context(|| format!("enter {}", top.display()))?;
    for level in 1..=levels {
        env::set_current_dir(&name).with_context(|| format!("enter level {level}"))?;
    }
    drop(fs::File::create("leaf").context("create the file")?);
    fs::remove_file("leaf").context("remove the file")
}
