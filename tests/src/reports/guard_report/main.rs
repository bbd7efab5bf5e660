//! Shows with real programs on the running kernel that the guard stops destruction
//! and nothing else: `cargo xtask guard-report`.
//!
//! Not here: the definition of destruction (the guard's own tests have the edge
//! cases), and the programs of a machine: a row without its program says so.

mod case;
mod destroyers;
mod table;
mod trial;
mod work;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use agent_recorder_tests::lab::recorder::doctor;
use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use self::case::Case;
use self::table::Kind;
use self::trial::{Outcome, Ran, Stage};

#[derive(Debug, Parser)]
struct Args {
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Where the table goes; standard output without it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A directory that is no temporary one, for the files that are destroyed
    #[arg(long, default_value = "/var/lib", value_name = "DIR")]
    place: PathBuf,
    /// How many cases are tried at a time: each has files and a recorder of its own
    #[arg(long, default_value_t = 4, value_name = "N")]
    at_once: usize,
    /// The program of destroy.c; it is compiled here without this
    #[arg(long, value_name = "FILE")]
    destroy: Option<PathBuf>,
    /// The guard's short window: where programs are emulated, the default one is too short for them
    #[arg(long, value_name = "TIME")]
    window: Option<String>,
}

fn main() -> ExitCode {
    match report(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// False when a case is not as it should be.
fn report(args: &Args) -> Result<bool> {
    let tools = tempfile::tempdir()?;
    let stage = Stage {
        place: args.place.clone(),
        window: args.window.clone(),
        destroy: match &args.destroy {
            Some(program) => program.clone(),
            None => compile(tools.path())?,
        },
        uring: sibling("stimulus")?,
        tools,
        installing: Mutex::new(()),
    };
    let about = About::ask()?;
    let mut text = about.heading(args.at_once);
    let mut failures = Vec::new();
    for (kind, title, cases) in [
        (Kind::Destroyer, "Destroyers", destroyers::DESTROYERS),
        (Kind::Work, "Ordinary work", work::WORK),
    ] {
        let _ = writeln!(text, "\n## {title}\n\n{}", about.explain(kind));
        text += &table::head(kind);
        let wanted = |case: &&Case| case.name.contains(&args.only);
        let cases: Vec<_> = cases.iter().filter(wanted).collect();
        for (row, fault) in all(&stage, kind, &cases, &about, args.at_once)? {
            text += &row;
            failures.extend(fault);
        }
    }
    match &args.out {
        Some(file) => std::fs::write(file, text).with_context(|| format!("write {file:?}"))?,
        None => print!("{text}"),
    }
    for failure in &failures {
        eprintln!("guard_report: {failure}");
    }
    Ok(failures.is_empty())
}

/// A row, and its fault.
type Row = (String, Option<String>);

/// Tries `at_once` cases at a time; the rows are in the cases' order.
fn all(
    stage: &Stage,
    kind: Kind,
    cases: &[&Case],
    about: &About,
    at_once: usize,
) -> Result<Vec<Row>> {
    let next = AtomicUsize::new(0);
    let rows: Vec<OnceLock<Result<Row>>> = cases.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            scope.spawn(|| {
                while let Some((case, row)) = {
                    let index = next.fetch_add(1, Ordering::SeqCst);
                    cases.get(index).zip(rows.get(index))
                } {
                    row.get_or_init(|| one(stage, kind, case, about));
                }
            });
        }
    });
    rows.into_iter().filter_map(OnceLock::into_inner).collect()
}

fn one(stage: &Stage, kind: Kind, case: &Case, about: &About) -> Result<Row> {
    let outcome = stage
        .run(case, kind == Kind::Destroyer)
        .with_context(|| case.name.to_owned())?;
    let weakness = match &outcome {
        Outcome::Ran(ran) => about.weakness(kind, case, ran),
        Outcome::NotRun(_) => None,
    };
    let fault = match &outcome {
        Outcome::Ran(ran) if weakness.is_none() => table::fault(kind, case, ran, about.refuses),
        _ => None,
    };
    let row = table::row(kind, case, &outcome, about.refuses, weakness);
    eprint!("{row}");
    Ok((row, fault.map(|fault| format!("{}: {fault}", case.name))))
}

/// The machine and profile of the report.
struct About {
    machine: String,
    kernel: String,
    profile: String,
    refuses: bool,
    /// Whether deleted objects are seen, and not their names alone.
    judges: bool,
}

impl About {
    fn ask() -> Result<Self> {
        let said = doctor()?;
        Ok(Self {
            machine: machine()?,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            profile: said["profile"].as_str().unwrap_or("none").to_owned(),
            refuses: said["refuses"].as_bool().unwrap_or(false),
            judges: said["seesVictims"].as_bool().unwrap_or(false),
        })
    }

    /// The reason of a failure that is known for this machine.
    fn weakness(&self, kind: Kind, case: &Case, ran: &Ran) -> Option<&'static str> {
        let by_name = "names are all that this profile sees on this kernel: every deleted one counts, whoever made it, and nothing else does";
        let is_by_name = match kind {
            Kind::Destroyer => case.judged,
            // The guard stopped allowed work; work that fails by itself is another fault.
            Kind::Work => ran.verdict.is_some() && ran.survivors == 0,
        };
        let unseen = case.by_requests && !ran.sees_requests;
        case.weakness
            .or(unseen.then_some("this kernel shows no request of io_uring to a tracepoint"))
            .or((!self.judges && is_by_name).then_some(by_name))
    }

    fn heading(&self, at_once: usize) -> String {
        format!(
            "# What the guard stops, and what not\n\nMade by `cargo xtask guard-report` on {}, Linux {}, profile `{}`, agent-recorder {}, with the default policy and the action `kill`; {at_once} cases at a time.\n",
            self.machine,
            self.kernel,
            self.profile,
            env!("CARGO_PKG_VERSION"),
        )
    }

    fn explain(&self, kind: Kind) -> String {
        match kind {
            Kind::Destroyer => format!(
                "Each against {} files of about 1 KiB that somebody else made, in 50 directories. A file is destroyed when its contents are nowhere below any more, under whatever name. {}\n",
                trial::ALL,
                if self.refuses {
                    "What goes over the limit is refused."
                } else {
                    "Nothing can be refused here: what several do at once when the limit is met can go beyond it by one each."
                }
            ),
            Kind::Work => "What each works on was made before, outside the session.\n".to_owned(),
        }
    }
}

/// Model and number of its processors.
fn machine() -> Result<String> {
    let about = std::fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let model = about
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let count = std::thread::available_parallelism()?;
    Ok(format!("{model}, {count} cores"))
}

fn compile(into: &Path) -> Result<PathBuf> {
    let (source, program) = (into.join("destroy.c"), into.join("destroy"));
    std::fs::write(&source, include_str!("destroy.c"))?;
    let status = Command::new("cc")
        .args(["-O1", "-Wall", "-o"])
        .arg(&program)
        .arg(&source)
        .status()
        .context("start cc")?;
    ensure!(status.success(), "cc: {status}");
    Ok(program)
}

fn sibling(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.exists(), "{name} is not built");
    Ok(path)
}
