//! `cargo xtask reference`: writes docs/reference from the command line, the
//! configuration and the protocol.
//!
//! What the pages say is the business of the tests' `reference` program; a test
//! holds the committed ones equal. Neither needs the BPF toolchain or root.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::build::{self, Profile};
use crate::step::{self, Steps};

/// Builds the program, and ends as it ends.
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
