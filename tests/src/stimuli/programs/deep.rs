//! Goes down a chain of directories that have one name, and makes and removes
//! a file at its end: where no call can name it by its whole path.

use anyhow::Context as _;

const USAGE: &str = "stim_deep DIRECTORY NAME LEVELS";

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let mut next = || arguments.next().context(USAGE);
    let (top, name, levels) = (next()?, next()?, next()?);
    let levels: usize = levels.to_str().context(USAGE)?.parse()?;
    std::env::set_current_dir(&top)?;
    for _ in 0..levels {
        std::env::set_current_dir(&name)?;
    }
    std::fs::write("leaf", "")?;
    Ok(std::fs::remove_file("leaf")?)
}
