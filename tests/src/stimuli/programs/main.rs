//! The recorded programs of the tests in one: `stimulus NAME WORD…`. Each has a file
//! of its own.
//!
//! Not here: the two programs whose own name or arguments are tested
//! (`stimuli/alone`), and the format of the reports (`stimuli`).

mod condemned;
mod connect;
mod controls;
mod deep;
mod files;
mod flags;
mod forks;
mod net;
mod renames;
mod reuse;
mod storm;
mod swap;
mod swap_address;
mod tamper;
mod uring;
mod ways;
mod whole;

use std::env::args_os;
use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::bail;

fn main() -> anyhow::Result<ExitCode> {
    let name = args_os().nth(1).unwrap_or_default();
    let words: Vec<OsString> = args_os().skip(2).collect();
    let words = words.as_slice();
    match name.to_str() {
        Some("condemned") => condemned::run(words)?,
        Some("connect") => connect::run(words)?,
        Some("controls") => controls::run()?,
        Some("deep") => deep::run(words)?,
        Some("files") => files::run(words)?,
        Some("flags") => flags::run(words)?,
        Some("forks") => forks::run(words)?,
        Some("net") => net::run(words)?,
        Some("renames") => renames::run(words)?,
        Some("reuse") => reuse::run(words)?,
        Some("storm") => storm::run(words)?,
        Some("swap") => swap::run(words)?,
        Some("swap_address") => swap_address::run(words)?,
        Some("tamper") => tamper::run(words)?,
        Some("uring") => uring::run(words)?,
        Some("ways") => ways::run(words)?,
        Some("whole") => return whole::run(words),
        _ => bail!("there is no stimulus {name:?}"),
    }
    Ok(ExitCode::SUCCESS)
}
