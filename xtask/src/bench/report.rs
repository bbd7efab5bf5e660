//! The results as a markdown table for people and as JSON for programs.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use serde::Serialize;
use serde_json::json;

use super::measure::{Column, Round, Sample};
use super::stats::Middle;
use super::workload::Workload;

/// The machine, because the numbers hold for it only.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    kernel: String,
    cpu: String,
    cores: usize,
}

impl Machine {
    /// Reads the facts about this machine.
    pub(super) fn this() -> Result<Self> {
        let kernel = rustix::system::uname();
        let cpus = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
        let cpu = cpus
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Ok(Self {
            kernel: format!(
                "{} {}",
                kernel.sysname().to_string_lossy(),
                kernel.release().to_string_lossy()
            ),
            cpu: cpu
                .map_or(std::env::consts::ARCH, |(_, name)| name.trim())
                .to_owned(),
            cores: std::thread::available_parallelism()
                .context("count the cores")?
                .get(),
        })
    }
}

/// Everything that is reported.
pub(super) struct Report<'a> {
    /// The machine.
    pub machine: &'a Machine,
    /// Names and versions of the programs.
    pub versions: &'a [(&'static str, String)],
    /// The rows.
    pub workloads: &'a [Workload],
    /// The samples of each round.
    pub rounds: &'a [Round],
}

impl Report<'_> {
    /// A table of CPU and wall times, each with its ratio to bare.
    pub(super) fn markdown(&self) -> String {
        let Machine { kernel, cpu, cores } = self.machine;
        let versions: Vec<_> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        let mut text = format!(
            "{cpu}, {cores} cores, {kernel}; {}; medians of {} interleaved rounds, ± median absolute deviation; guard off\n\n",
            versions.join(", "),
            self.rounds.len()
        );
        text.push_str("| CPU time of one | bare | recorded, with the recorder | × bare | of it the recorder | beside the recorder | × bare | its records | wall time: recorded, × bare | beside, × bare |\n");
        text.push_str("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n");
        for (index, workload) in self.workloads.iter().enumerate() {
            self.row(index, workload, &mut text);
        }
        text
    }

    fn row(&self, index: usize, workload: &Workload, text: &mut String) {
        let times = workload.times as f64;
        let values = |column, of: fn(&Sample) -> f64| -> Vec<f64> {
            self.rounds
                .iter()
                .map(|round| of(round.sample(index, column)) / times)
                .collect()
        };
        let cost = |column| values(column, Sample::cost_ns);
        let wall = |column| values(column, |sample| sample.wall_ns as f64);
        let ratio = |values: &[f64], bases: &[f64]| shown_ratio(Middle::of_ratios(values, bases));
        let (bare, recorded, beside) = (
            cost(Column::Bare),
            cost(Column::Recorded),
            cost(Column::Beside),
        );
        let recorder = values(Column::Recorded, |sample| sample.recorder_cpu_ns as f64);
        let records = Middle::of(&values(Column::Recorded, |sample| {
            sample.records.unwrap_or(0) as f64
        }));
        let bare_wall = wall(Column::Bare);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            workload.name,
            shown_time(&bare),
            shown_time(&recorded),
            ratio(&recorded, &bare),
            shown_time(&recorder),
            shown_time(&beside),
            ratio(&beside, &bare),
            records.map_or_else(|| "–".to_owned(), |middle| shown_count(middle.median)),
            ratio(&wall(Column::Recorded), &bare_wall),
            ratio(&wall(Column::Beside), &bare_wall),
        );
    }

    /// The raw samples of every round, with machine and versions.
    pub(super) fn json(&self) -> serde_json::Value {
        let versions: serde_json::Map<_, _> = self
            .versions
            .iter()
            .map(|(name, version)| ((*name).to_owned(), json!(version)))
            .collect();
        let workloads: Vec<_> = self
            .workloads
            .iter()
            .enumerate()
            .map(|(index, workload)| {
                let rounds: Vec<_> = self
                    .rounds
                    .iter()
                    .map(|round| round.samples_of(index))
                    .collect();
                json!({ "name": workload.name, "times": workload.times, "rounds": rounds })
            })
            .collect();
        json!({ "machine": self.machine, "versions": versions, "guard": "off", "workloads": workloads })
    }
}

fn shown_ratio(ratio: Option<Middle>) -> String {
    ratio.map_or_else(
        || "–".to_owned(),
        |Middle { median, deviation }| format!("{median:.2} ± {deviation:.2}"),
    )
}

fn shown_time(nanoseconds: &[f64]) -> String {
    let Some(Middle { median, .. }) = Middle::of(nanoseconds) else {
        return "–".to_owned();
    };
    let (value, unit) = match median {
        0.0 => return "0".to_owned(),
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "µs"),
        ns => (ns / 1e6, "ms"),
    };
    // Three digits: the rest is noise.
    let decimals = if value < 10.0 {
        2
    } else {
        usize::from(value < 100.0)
    };
    format!("{value:.decimals$} {unit}")
}

fn shown_count(count: f64) -> String {
    if count < 10.0 {
        format!("{count:.2}")
    } else {
        format!("{count:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_three_figures_in_a_fitting_unit() {
        assert_eq!(shown_time(&[123.4]), "123 ns");
        assert_eq!(shown_time(&[1_234.0]), "1.23 µs");
        assert_eq!(shown_time(&[56_789_000.0]), "56.8 ms");
        assert_eq!(shown_time(&[0.0]), "0");
        assert_eq!(shown_time(&[]), "–");
    }

    #[test]
    fn a_row_holds_costs_and_ratios_of_its_columns() {
        let sample = |cpu_ns, recorder_cpu_ns| Sample {
            wall_ns: 2 * cpu_ns,
            cpu_ns,
            recorder_cpu_ns,
            ..Sample::default()
        };
        let round = |factor: u64| {
            Round::of_one([
                sample(1_000 * factor, 0),
                sample(1_200 * factor, 300 * factor),
                sample(1_100 * factor, 0),
            ])
        };
        let mut workload = super::super::workload::ALL[0];
        workload.times = 1;
        let machine = Machine {
            kernel: "Linux 6".into(),
            cpu: "a CPU".into(),
            cores: 2,
        };
        let report = Report {
            machine: &machine,
            versions: &[],
            workloads: &[workload],
            rounds: &[round(1), round(3), round(2)],
        };
        let table = report.markdown();
        let row = table.lines().last().unwrap_or_default();
        assert!(
            row.contains("| 2.00 µs | 3.00 µs | 1.50 ± 0.00 | 600 ns | 2.20 µs | 1.10 ± 0.00 |"),
            "{row}"
        );
        assert_eq!(
            report.json()["workloads"][0]["rounds"][1]["recorded"]["cpuNs"],
            3_600
        );
    }
}
