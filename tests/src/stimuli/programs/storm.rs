//! Makes more events than a small ring holds: `stimulus storm DIRECTORY`.
//!
//! It prints as JSON how many events of each kind it made.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, remove_file};
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::Context as _;
use serde_json::json;

const THREADS: usize = 4;
const ROUNDS: usize = 20_000;
/// Rounds from one delete to the next.
const DELETE_EVERY: usize = 50;
const PROGRAMS: usize = 50;

fn opens_and_deletes(path: &Path) -> std::io::Result<()> {
    for round in 0..ROUNDS {
        let file: File = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)?;
        drop(file);
        if round % DELETE_EVERY == 0 {
            remove_file(path)?;
        }
    }
    Ok(())
}

pub(crate) fn run(words: &[OsString]) -> anyhow::Result<()> {
    let directory = Path::new(words.first().context("stimulus storm DIRECTORY")?);
    thread::scope(|scope| -> anyhow::Result<()> {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let path = directory.join(number.to_string());
                scope.spawn(move || opens_and_deletes(&path))
            })
            .collect();
        for _ in 0..PROGRAMS {
            Command::new("/bin/true").status()?;
        }
        for thread in threads {
            thread
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })?;
    let said = json!({
        "opens": THREADS * ROUNDS,
        "deletes": THREADS * ROUNDS.div_ceil(DELETE_EVERY),
        "programs": PROGRAMS,
    });
    println!("{said}");
    Ok(())
}
