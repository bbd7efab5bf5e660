//! `cargo xtask guard-report`: shows on the running kernel which programs the guard
//! stops, and writes docs/evidence/guard-report.md.
//!
//! This module builds and starts the report. The tests' `guard_report` program has
//! the cases and the table.

use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::step::{self, Steps};
use crate::toolchain::Toolchain;
use crate::vm::guard;
use crate::vm::kernels::Kernel;
use crate::{setup, workspace};

/// The package of the report and of the stimulus.
const TESTS: &str = "agent-recorder-tests";
const TABLE: &str = "docs/evidence/guard-report.md";
const TABLE_OF_GUESTS: &str = "docs/evidence/guard-report-guests.md";

/// The choice of cases.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Try only those whose name contains this, and print the table instead of keeping it
    #[arg(long, value_name = "PATTERN")]
    only: Option<String>,
    /// In guests with Debian's kernels, what their few programs can do; on these, if any are named
    #[arg(long, value_name = "KERNEL,…", num_args = 0.., value_delimiter = ',')]
    guests: Option<Vec<Kernel>>,
}

/// Builds, tries every case, and fails when a case has an unexpected result.
///
/// # Errors
///
/// Something does not build, or the cases cannot be started.
pub(crate) fn command(args: &Args) -> Result<ExitCode> {
    if let Some(kernels) = &args.guests {
        return in_guests(kernels, args.only.as_deref());
    }
    let mut steps = Steps::new(5);
    build::recorder(&mut steps, Profile::Debug)?;
    steps.run("what the cases run", setup::for_guard_report)?;
    let report = steps.run("the cases", || {
        build::binary(TESTS, "stimulus", Profile::Debug)?;
        build::binary(TESTS, "guard_report", Profile::Debug)
    })?;
    let path = std::env::var("PATH").context("read PATH")?;
    // sudo sets its own PATH; npm and its programs are on the caller's.
    let mut command = step::as_root("env")?;
    command.arg(format!("PATH={path}")).arg(report);
    match &args.only {
        Some(pattern) => command.args(["--only", pattern]),
        None => {
            let table = workspace::root().join(TABLE);
            let folder = table.parent().context("a table has a folder")?;
            std::fs::create_dir_all(folder)?;
            command.arg("--out").arg(table)
        }
    };
    let status = command.status().context("start the cases")?;
    Ok(step::code(status.success()))
}

fn in_guests(kernels: &[Kernel], only: Option<&str>) -> Result<ExitCode> {
    let mut steps = Steps::new(4);
    steps.run("what guests need", setup::for_guests)?;
    let toolchain = steps.run("BPF toolchain", Toolchain::ready)?;
    steps.run("BPF object", || build::object(&toolchain))?;
    let (table, wrong) = steps.run("the cases", || guard::report(kernels, only.unwrap_or("")))?;
    if kernels.is_empty() && only.is_none() {
        let file = workspace::root().join(TABLE_OF_GUESTS);
        std::fs::write(&file, table).with_context(|| format!("write {}", file.display()))?;
    } else {
        print!("{table}");
    }
    Ok(step::code(wrong == 0))
}
