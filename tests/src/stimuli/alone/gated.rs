//! Stands for a program that destroys something outside this host's files: it appends
//! its arguments to the file in `GATED_LOG` as one line, and ends.

use std::fs::OpenOptions;
use std::io::Write as _;

fn main() -> std::io::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let log = std::env::var_os("GATED_LOG").unwrap_or_else(|| "gated.log".into());
    let mut log = OpenOptions::new().create(true).append(true).open(log)?;
    writeln!(log, "{}", arguments.join(" "))
}
