//! Tries each agent of the catalogue and prints a table; `cargo xtask agents`
//! builds everything and runs it.
//!
//! Exits non-zero when a trial failed, or when fewer than two agents could be tried.

use std::fmt::Write;
use std::process::ExitCode;

use agent_recorder_tests::lab::agents::catalog::{AGENTS, Agent, find};
use agent_recorder_tests::lab::agents::install::install;
use agent_recorder_tests::lab::agents::trial::{self, Outcome};
use anyhow::Context;

/// Fewer say too little about agents in general.
const FEWEST: usize = 2;

#[derive(Debug, clap::Parser)]
struct Args {
    /// Try these only; all by default.
    names: Vec<String>,
    /// Install the newest version of each, not the one that is known to work.
    #[arg(long)]
    latest: bool,
    /// Without the recorder: check the agents and the script alone.
    #[arg(long)]
    alone: bool,
}

/// One line of the table.
struct Row {
    cells: [String; 8],
    ran: bool,
    failures: Vec<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = <Args as clap::Parser>::parse();
    let chosen = chosen(&args.names)?;
    let mut rows = Vec::new();
    for agent in &chosen {
        eprintln!("{}: installing and running …", agent.name);
        rows.push(row(agent, &args));
    }
    print!("{}", table(&rows));
    for row in &rows {
        for failure in &row.failures {
            println!("{}: {failure}", row.cells[0]);
        }
    }
    let ran = rows.iter().filter(|row| row.ran).count();
    let enough = ran >= FEWEST.min(chosen.len());
    if !enough {
        println!("only {ran} agents could be run");
    }
    let failed = rows.iter().any(|row| row.ran && !row.failures.is_empty());
    Ok(if failed || !enough {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Agent>> {
    if names.is_empty() {
        return Ok(AGENTS.iter().collect());
    }
    let known = || {
        AGENTS
            .iter()
            .map(|agent| agent.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let one = |name: &String| find(name).with_context(|| format!("{name}: not one of {}", known()));
    names.iter().map(one).collect()
}

fn row(agent: &'static Agent, args: &Args) -> Row {
    let installed = match install(agent, args.latest) {
        Ok(installed) => installed,
        Err(error) => return Row::not_run(agent, agent.version, format!("{error:#}")),
    };
    let tried = if args.alone {
        trial::alone(&installed)
    } else {
        trial::guarded(&installed)
    };
    match tried {
        Ok(Outcome {
            refused: Some(said),
            ..
        }) => Row::not_run(agent, &installed.version, said),
        Ok(outcome) => Row::ran(agent, &installed.version, outcome),
        Err(error) => Row::failed(agent, &installed.version, &error),
    }
}

impl Row {
    fn ran(agent: &Agent, version: &str, outcome: Outcome) -> Self {
        let Outcome {
            findings,
            calls,
            gone,
            kept,
            refused: _,
        } = outcome;
        let verdict = if findings.failures.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        let cells = [
            agent.name.to_owned(),
            version.to_owned(),
            findings.rule,
            format!("{calls}/{}", findings.seen),
            findings.processes.to_string(),
            format!("{}+{}", findings.ordered_execs, findings.own_execs),
            gone.to_string(),
            verdict.to_owned(),
        ];
        let kept = kept.map(|path| format!("everything is kept in {}", path.display()));
        let failures = findings.failures.into_iter().chain(kept).collect();
        Self {
            cells,
            ran: true,
            failures,
        }
    }

    /// The agent could not be installed, or asked the model nothing.
    fn not_run(agent: &Agent, version: &str, reason: String) -> Self {
        let cells = Self::cells(agent, version, format!("not run: {reason}"));
        Self {
            cells,
            ran: false,
            failures: Vec::new(),
        }
    }

    /// The trial itself broke off, whatever the agent did.
    fn failed(agent: &Agent, version: &str, error: &anyhow::Error) -> Self {
        let cells = Self::cells(agent, version, "FAILED".to_owned());
        Self {
            cells,
            ran: true,
            failures: vec![format!("{error:#}")],
        }
    }

    fn cells(agent: &Agent, version: &str, verdict: String) -> [String; 8] {
        let mut cells = [const { String::new() }; 8];
        cells[0] = agent.name.to_owned();
        cells[1] = version.to_owned();
        cells[7] = verdict;
        cells
    }
}

fn table(rows: &[Row]) -> String {
    let head = [
        "agent",
        "version",
        "rule",
        "calls ordered/seen",
        "processes",
        "execs ordered+own",
        "files gone",
        "verdict",
    ]
    .map(str::to_owned);
    let lines: Vec<&[String; 8]> = [&head]
        .into_iter()
        .chain(rows.iter().map(|row| &row.cells))
        .collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let mut table = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = width(column).unwrap_or_default();
            // Writing to a String cannot fail.
            let _ = write!(table, "{cell:width$}  ");
        }
        table.truncate(table.trim_end().len());
        table.push('\n');
    }
    table
}
