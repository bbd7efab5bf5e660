//! The scripted model's log: JSON lines, one an entry, in order of time.
//!
//! For a test it is the truth about the orders. No entry is rewritten, and each line is
//! whole once it is written.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Call;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// CLOCK_REALTIME, nanoseconds.
    pub time_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "what")]
pub enum What {
    /// A request came.
    Request {
        /// The URL's path.
        path: String,
        /// The model asked for.
        model: String,
        /// Names of the tools on offer.
        tools: Vec<String>,
    },
    /// A tool call was ordered, for the first time.
    Ordered {
        /// Its place in the script, from 0.
        index: usize,
        /// The call's id.
        id: String,
        /// The script's call.
        call: Call,
        /// The client's tool.
        tool: String,
        /// The tool's input.
        input: Value,
    },
    /// A tool call's result came back.
    Result {
        /// Its place in the script, from 0.
        index: usize,
        /// The result's text.
        text: String,
    },
    /// A request that no route takes, or a call that no tool on offer can do.
    Refused {
        /// The URL's path.
        path: String,
        /// The reason.
        why: String,
    },
}

/// The log, open for writing.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Starts a new, empty log.
    pub fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self(file))
    }

    /// Adds one entry, stamped now.
    pub fn add(&mut self, what: What) -> anyhow::Result<()> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let entry = Entry {
            time_ns: u64::try_from(since_epoch.as_nanos())?,
            what,
        };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        self.0.write_all(&line).context("write the model's log")
    }
}

/// Reads a log whole.
pub fn read(path: &Path) -> anyhow::Result<Vec<Entry>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    BufReader::new(file)
        .lines()
        .map(|line| {
            let line = line.with_context(|| format!("read {}", path.display()))?;
            serde_json::from_str(&line).with_context(|| format!("{}: {line}", path.display()))
        })
        .collect()
}
