//! A session that works step by step while something happens to its daemon, and the
//! records that it must have.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::lab::daemon::Daemon;
use crate::oracle::compare::is_forgiven;

/// A ring far smaller than the events that a worker makes without a daemon.
pub const SMALL_RING: &str = "[kernel]\nbulk_ring_bytes = 65536\n[guard]\naction = \"off\"\n";
/// Opens for each created file: a program's first open of each file is recorded.
pub const OPENED: usize = 2000;

/// Creates and removes files, as many as each line of its input says, and reports the
/// end. Between the two it opens the files of a second folder.
pub const WORKER: &str = r#"
    n=0
    while read -r count; do
        end=$((n + count))
        while [ $n -lt $end ]; do
            : > "$1/$n"
            for f in "$2"/*; do [ -e "$f" ] && read -r _ < "$f"; done
            rm "$1/$n"
            n=$((n + 1))
        done
        echo done
    done"#;

/// The guard is off: one that cannot see which files a session created would end the workers.
pub const NO_GUARD: &str = "[guard]\naction = \"off\"\n";

/// A session that does a step for each line of its input.
#[derive(Debug)]
pub struct Worker {
    /// `run`, or another command.
    pub process: Child,
    /// The pipe from which it reads its orders.
    pub orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Worker {
    /// A command that reads from its input and answers on its output.
    ///
    /// # Errors
    ///
    /// It cannot be started.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take().context("its input")?;
        let answers = process.stdout.take().context("its output")?;
        Ok(Self {
            process,
            orders,
            answers: BufReader::new(answers),
        })
    }

    /// A session of a daemon, in a folder.
    ///
    /// # Errors
    ///
    /// As [`Worker::start`].
    pub fn session(daemon: &Daemon, folder: &Path) -> anyhow::Result<Self> {
        let mut command = daemon.command("run")?;
        command
            .args(["--", "sh", "-c", WORKER, "sh"])
            .arg(folder)
            .arg(opened_in(folder));
        Self::start(command)
    }

    /// The next line of its output.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn answer(&mut self) -> anyhow::Result<String> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        Ok(answer)
    }

    /// Makes and removes `count` files.
    ///
    /// # Errors
    ///
    /// It has ended.
    pub fn work(&mut self, count: usize) -> anyhow::Result<()> {
        writeln!(self.orders, "{count}")?;
        let answer = self.answer()?;
        ensure!(answer == "done\n", "it said {answer:?}");
        Ok(())
    }

    /// Closes its input, and waits for its end.
    ///
    /// # Errors
    ///
    /// It fails.
    pub fn end(mut self) -> anyhow::Result<()> {
        drop(self.orders);
        let status = self.process.wait()?;
        ensure!(status.success(), "the session ended with {status}");
        Ok(())
    }
}

/// The folder whose files a worker in `folder` opens.
pub fn opened_in(folder: &Path) -> PathBuf {
    folder.with_file_name("opened")
}

/// The paths of the files that were recorded as deleted.
pub fn deleted(records: &[Value]) -> Vec<&str> {
    let files = records.iter().filter_map(|record| record.get("file"));
    files
        .filter(|file| file["op"] == "DELETE" && file.get("error").is_none())
        .filter_map(|file| file["path"].as_str())
        .collect()
}

/// Verifies that each file of a worker was recorded as deleted, once.
///
/// # Errors
///
/// A deletion is missing or doubled.
pub fn each_once(records: &[Value], folder: &Path, count: usize) -> anyhow::Result<()> {
    let wrong = not_once(records, folder, count);
    ensure!(
        is_forgiven(wrong.len(), count, records),
        "recorded otherwise than once: {wrong:?}"
    );
    Ok(())
}

/// Counts of deletions for the files that were not recorded exactly once.
pub fn not_once(records: &[Value], folder: &Path, count: usize) -> Vec<(usize, usize)> {
    let deleted = deleted(records);
    let times = (0..count).map(|number| {
        let path = folder.join(number.to_string());
        let is_it = |found: &&&str| OsStr::new(**found) == path.as_os_str();
        (number, deleted.iter().filter(is_it).count())
    });
    times.filter(|(_, times)| *times != 1).collect()
}

/// Counts by kind, of the JSON form.
pub fn counts(list: &Value) -> BTreeMap<String, u64> {
    let entries = list.as_array().into_iter().flatten();
    entries
        .filter_map(|entry| Some((entry["kind"].as_str()?.to_owned(), entry["count"].as_u64()?)))
        .collect()
}

/// Verifies that the made events are those delivered and lost, by kind. Returns the
/// lost ones.
///
/// # Errors
///
/// The counts differ, or the session has no end.
pub fn balanced(records: &[Value]) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut ends = records.iter().filter_map(|record| record.get("sessionEnd"));
    let totals = &ends.next().context("the session has no end")?["totals"];
    let [produced, delivered, lost] =
        ["produced", "delivered", "lost"].map(|sum| counts(&totals[sum]));
    for (kind, made) in &produced {
        ensure!(*made == delivered[kind] + lost[kind], "{kind}: {totals}");
    }
    Ok(lost)
}

/// Verifies that nothing of a session was lost.
///
/// # Errors
///
/// Something was lost.
pub fn nothing_lost(records: &[Value]) -> anyhow::Result<()> {
    let lost = balanced(records)?;
    ensure!(lost.values().all(|count| *count == 0), "{lost:?}");
    Ok(())
}
