//! A process outside every session that does what the stimulus does, during the whole
//! test.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, anyhow, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// A stimulus that runs again and again outside every session.
#[derive(Debug)]
pub struct Beside {
    stop: Sender<()>,
    thread: JoinHandle<anyhow::Result<BTreeSet<u64>>>,
}

impl Beside {
    /// Runs a program with these words and a directory once, then repeats it in a
    /// thread.
    ///
    /// # Errors
    ///
    /// The stimulus fails.
    pub fn start(stimulus: &[&'static str]) -> anyhow::Result<Self> {
        let stimulus = stimulus.to_vec();
        let (stop, stopped) = channel();
        let mut pids = BTreeSet::from([round(&stimulus)?]);
        let thread = thread::spawn(move || {
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                pids.insert(round(&stimulus)?);
            }
            Ok(pids)
        });
        Ok(Self { stop, thread })
    }

    /// Stops it, and verifies that none of its acts was recorded.
    ///
    /// # Errors
    ///
    /// An act was recorded, or the stimulus failed.
    pub fn was_left_alone(self, records: &[Value]) -> anyhow::Result<()> {
        drop(self.stop);
        let pids = self
            .thread
            .join()
            .map_err(|_| anyhow!("the neighbour panicked"))??;
        let foreign: Vec<_> = records
            .iter()
            .filter(|record| {
                record["process"]["pid"]
                    .as_u64()
                    .is_some_and(|pid| pids.contains(&pid))
            })
            .collect();
        ensure!(foreign.is_empty(), "of the neighbour: {foreign:?}");
        Ok(())
    }
}

fn round(stimulus: &[&str]) -> anyhow::Result<u64> {
    let directory = TempDir::new()?;
    let (program, words) = stimulus.split_first().context("no program")?;
    let child = Command::new(program)
        .args(words)
        .arg(Path::new(directory.path()))
        .stdout(Stdio::null())
        .spawn()
        .context("start the neighbour")?;
    let pid = child.id();
    let status = child.wait_with_output()?.status;
    ensure!(status.success(), "the neighbour fails: {status}");
    Ok(pid.into())
}
