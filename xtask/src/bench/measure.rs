//! One measurement by bench_micro: a workload in one column.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use super::daemon::Daemon;
use super::inputs::ENVIRONMENT;
use super::workload::Workload;
use crate::step;

/// The circumstances of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// No recorder runs on the machine.
    Bare,
    /// The workload is in a session of the running recorder.
    Recorded,
    /// The workload is outside every session, while a recorder runs.
    Beside,
}

/// The result of one measurement, over all repetitions of the operation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    /// Elapsed time, ns.
    pub wall_ns: u64,
    /// User and system time of the workload's processes, ns.
    pub cpu_ns: u64,
    /// CPU time of the recorder in the meantime, ns.
    pub recorder_cpu_ns: u64,
    /// Records of the session; none outside one.
    #[serde(default)]
    pub records: Option<u64>,
}

impl Sample {
    /// CPU time of the workload and the recorder together, ns.
    pub(super) fn cost_ns(&self) -> f64 {
        (self.cpu_ns + self.recorder_cpu_ns) as f64
    }
}

/// The samples of one round: a workload's three columns together.
#[derive(Debug, Default)]
pub(super) struct Round {
    samples: Vec<Samples>,
}

/// One workload's samples of one round.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Samples {
    bare: Sample,
    recorded: Sample,
    beside: Sample,
}

impl Round {
    /// For so many workloads.
    pub(super) fn new(workloads: usize) -> Self {
        Self {
            samples: vec![Samples::default(); workloads],
        }
    }

    /// Stores a sample.
    pub(super) fn set(&mut self, workload: usize, column: Column, sample: Sample) {
        let samples = &mut self.samples[workload];
        *match column {
            Column::Bare => &mut samples.bare,
            Column::Recorded => &mut samples.recorded,
            Column::Beside => &mut samples.beside,
        } = sample;
    }

    /// The sample of a workload and a column.
    pub(super) fn sample(&self, workload: usize, column: Column) -> &Sample {
        let samples = self.samples_of(workload);
        match column {
            Column::Bare => &samples.bare,
            Column::Recorded => &samples.recorded,
            Column::Beside => &samples.beside,
        }
    }

    /// All of a workload's samples.
    pub(super) fn samples_of(&self, workload: usize) -> &Samples {
        &self.samples[workload]
    }

    #[cfg(test)]
    pub(super) fn of_one([bare, recorded, beside]: [Sample; 3]) -> Self {
        Self {
            samples: vec![Samples {
                bare,
                recorded,
                beside,
            }],
        }
    }
}

/// The program and the folder of the measurements.
pub(super) struct Bench<'a> {
    /// bench_micro.
    pub micro: &'a Path,
    /// The inputs' folder.
    pub folder: &'a Path,
}

impl Bench<'_> {
    /// Runs a workload without a recorder.
    ///
    /// # Errors
    ///
    /// The workload fails.
    pub(super) fn bare(&self, workload: &Workload) -> Result<Sample> {
        self.outside(workload, 0)
    }

    /// Runs a workload outside every session, while `daemon` runs. The daemon's CPU
    /// time is returned, but is not the workload's.
    ///
    /// # Errors
    ///
    /// The workload fails.
    pub(super) fn beside(&self, workload: &Workload, daemon: &Daemon) -> Result<Sample> {
        self.outside(workload, daemon.pid())
    }

    /// Runs a workload in a session of `daemon`.
    ///
    /// # Errors
    ///
    /// The workload fails, or nothing was recorded.
    pub(super) fn recorded(&self, workload: &Workload, daemon: &Daemon) -> Result<Sample> {
        let session = daemon.session_words();
        let recorder = daemon.pid().to_string();
        if workload.is_session() {
            return self
                .run(self.micro, &[], &recorder, &workload.words(&session))
                .map(|(sample, _)| sample);
        }
        let Some((program, options)) = session.split_first() else {
            bail!("no words to record by")
        };
        let micro = self.micro.display().to_string();
        let before: Vec<String> = options.iter().cloned().chain([micro]).collect();
        let (mut sample, said) =
            self.run(Path::new(program), &before, &recorder, &workload.words(&[]))?;
        sample.records = records_in(&said);
        match sample.records {
            Some(1..) => Ok(sample),
            _ => bail!(
                "{}: nothing was recorded; the recorder said: {}",
                workload.name,
                said.trim()
            ),
        }
    }

    fn outside(&self, workload: &Workload, recorder: u32) -> Result<Sample> {
        self.run(self.micro, &[], &recorder.to_string(), &workload.words(&[]))
            .map(|(sample, _)| sample)
    }

    /// Returns the sample, and the output on stderr.
    fn run(
        &self,
        program: &Path,
        before: &[String],
        recorder: &str,
        words: &[String],
    ) -> Result<(Sample, String)> {
        let mut command = Command::new(program);
        command.args(before).arg(recorder).args(words);
        command
            .current_dir(self.folder)
            .envs(ENVIRONMENT.iter().copied())
            .stdin(Stdio::null());
        let output = command
            .output()
            .with_context(|| format!("start `{}`", step::shown(&command)))?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            bail!(
                "`{}` ended with {}: {}",
                step::shown(&command),
                output.status,
                said.trim()
            );
        }
        let sample = serde_json::from_slice(&output.stdout)
            .with_context(|| format!("read what `{}` measured", step::shown(&command)))?;
        Ok((sample, said))
    }
}

/// The number of records in the line that `run` ends with.
fn records_in(said: &str) -> Option<u64> {
    let words: Vec<&str> = said
        .lines()
        .rev()
        .find(|line| line.contains(" records"))?
        .split_whitespace()
        .collect();
    let at = words.iter().position(|word| word.starts_with("records"))?;
    words.get(at.checked_sub(1)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_records_is_read_from_the_closing_line() {
        let said = "something else\nagent-recorder: session 0199: 1204 records, 3 processes, 0 files destroyed\n";
        assert_eq!(records_in(said), Some(1204));
        assert_eq!(records_in("agent-recorder: no permission\n"), None);
    }

    #[test]
    fn what_bench_micro_prints_is_a_sample() -> Result<()> {
        let sample: Sample = serde_json::from_str(r#"{"wallNs":3,"cpuNs":2,"recorderCpuNs":1}"#)?;
        assert_eq!(
            (sample.wall_ns, sample.cost_ns(), sample.records),
            (3, 3.0, None)
        );
        Ok(())
    }
}
