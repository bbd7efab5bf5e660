//! `cargo xtask setup`: installs everything that building and testing need. `run` and
//! `build` need the BPF toolchain only.

use anyhow::{Context as _, Result};

use crate::step::{self, Steps, say};
use crate::toolchain::Toolchain;
use crate::tools::Need;
use crate::{tools, workspace};

/// Installs everything.
///
/// # Errors
///
/// Something is missing and cannot be installed: the line says what and how to get it.
pub(crate) fn everything() -> Result<()> {
    let mut steps = Steps::new(3);
    steps.run(
        "BPF toolchain (for build, run, test, bench)",
        Toolchain::ready,
    )?;
    steps.run("what the tests run (for test, bench)", for_tests)?;
    steps.run("what guests need (for vm)", for_guests)?;
    say("everything is there");
    Ok(())
}

/// Installs the programs that tests run, and the parts of the compiler that check the
/// source.
///
/// # Errors
///
/// As [`everything`].
pub(crate) fn for_tests() -> Result<()> {
    install_or_say(tools::FOR_TESTS)?;
    for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if step::output(workspace::cargo().args([subcommand, "--version"])).is_err() {
            say(&format!("rustup component add {component}"));
            step::run(std::process::Command::new("rustup").args(["component", "add", component]))
                .with_context(|| {
                format!("`cargo {subcommand}` is missing: get {component} of this Rust")
            })?;
        }
    }
    Ok(())
}

/// Installs the programs that boot other kernels.
///
/// # Errors
///
/// As [`everything`].
pub(crate) fn for_guests() -> Result<()> {
    install_or_say(tools::FOR_GUESTS)
}

/// Installs the programs that the report on the guard tries.
///
/// # Errors
///
/// As [`everything`].
pub(crate) fn for_guard_report() -> Result<()> {
    for_tests()?;
    for_guests()?;
    install_or_say(tools::FOR_GUARD_REPORT)
}

fn install_or_say(needs: &[Need]) -> Result<()> {
    if !tools::install_missing(needs)? {
        let names: Vec<_> = needs.iter().map(|need| need.package).collect();
        say(&format!("there already: {}", names.join(", ")));
    }
    Ok(())
}
