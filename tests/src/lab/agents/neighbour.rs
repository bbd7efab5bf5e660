//! A process outside every session that does what agents do.
//!
//! It deletes folders of files with `rm -rf` until it is stopped. None of its acts
//! may be recorded, and none refused.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};

/// Above the guard's default limit: one round would be stopped in a session.
const FILES: usize = 80;
/// Between two rounds, so that it leaves the machine to the agent.
const PACE: Duration = Duration::from_millis(100);

/// A neighbour at work.
#[derive(Debug)]
pub struct Neighbour {
    stop: Sender<()>,
    thread: JoinHandle<anyhow::Result<Vec<u32>>>,
}

impl Neighbour {
    /// Starts one in an empty folder.
    pub fn start(folder: PathBuf) -> Self {
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            let mut pids = Vec::new();
            loop {
                pids.push(round(&folder.join("files"))?);
                if stopped.recv_timeout(PACE) != Err(RecvTimeoutError::Timeout) {
                    return Ok(pids);
                }
            }
        });
        Self { stop, thread }
    }

    /// Stops it, and gives the pids of all its processes.
    pub fn stop(self) -> anyhow::Result<Vec<u32>> {
        drop(self.stop);
        self.thread
            .join()
            .map_err(|_| anyhow!("the neighbour panicked"))?
    }
}

fn round(folder: &Path) -> anyhow::Result<u32> {
    fs::create_dir_all(folder).context("the neighbour makes its folder")?;
    for number in 0..FILES {
        File::create(folder.join(number.to_string())).context("the neighbour makes a file")?;
    }
    // The test itself may run under an agent, whose environment would mark this process.
    let mut rm = Command::new("rm")
        .arg("-rf")
        .arg(folder)
        .env_clear()
        .spawn()?;
    let status = rm.wait()?;
    ensure!(
        status.success() && !folder.exists(),
        "the neighbour was stopped: {status}"
    );
    Ok(rm.id())
}
