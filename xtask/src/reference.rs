//! `cargo xtask reference`: writes docs/reference from the command line, the
//! configuration and the protocol, and the guide's table from the guard's criteria.
//!
//! The tests' `reference` program has the contents of the pages; a test compares the
//! committed ones. Neither needs the BPF toolchain or root.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::step::{self, Steps};

/// Builds and runs the program. The exit status is its own.
///
/// # Errors
///
/// It does not build, or cannot be started.
pub(crate) fn command() -> Result<ExitCode> {
    let mut steps = Steps::new(1);
    let program = steps.run("the pages", || {
        build::binary("agent-recorder-tests", "reference", Profile::Debug)
    })?;
    let status = Command::new(program)
        .status()
        .context("start the program that writes the pages")?;
    Ok(step::code(status.success()))
}
