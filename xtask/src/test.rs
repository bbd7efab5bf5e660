//! `cargo xtask test`: every check and every test, on a machine in any state.
//!
//! A phase that fails does not keep the later ones from running, unless they
//! need what it makes; the status says whether all went well.

use std::process::ExitCode;
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::build;
use crate::leftovers::Snapshot;
use crate::setup;
use crate::step::{self, Steps, say};
use crate::toolchain::Toolchain;
use crate::vm;
use crate::workspace;

/// Runs all phases and prints their table.
///
/// # Errors
///
/// What the tests need cannot be installed or does not compile.
pub(crate) fn command(filter: Option<&str>) -> Result<ExitCode> {
    let mut steps = Steps::new(if filter.is_some() { 8 } else { 11 });
    let run = phases(&mut steps, filter);
    say("phases");
    eprintln!("{}", steps.table());
    run?;
    if !steps.all_ok() {
        say("FAILED");
        return Ok(ExitCode::FAILURE);
    }
    say("all passed");
    Ok(ExitCode::SUCCESS)
}

fn phases(steps: &mut Steps, filter: Option<&str>) -> Result<()> {
    let toolchain = steps.run("BPF toolchain", Toolchain::ready)?;
    steps.run("what the tests run", setup::for_tests)?;
    if filter.is_none() {
        steps.check("formatting", || {
            step::run(workspace::cargo().args(["fmt", "--all", "--check"]))
        });
    }
    steps.run("BPF object", || build::object(&toolchain))?;
    if filter.is_none() {
        steps.check("lints", || {
            step::run(workspace::cargo().args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]))
        });
    }
    // All at once: the later phases select what to run, never what to build,
    // so nothing is built twice with other features.
    steps.run("binaries and tests, built", || {
        step::run(workspace::cargo().args(["build", "--workspace", "--all-targets"]))
    })?;
    let only = filter.as_slice();
    steps.check("unit tests", || {
        cargo_test(&["--lib", "--bins"], only, false)
    });
    steps.check("documentation tests", || {
        cargo_test(&["--doc"], only, false)
    });
    let before = Snapshot::take().context("look at the machine before the end-to-end tests")?;
    // These wait much of their time: what guests need is made meanwhile.
    let guests = thread::scope(|scope| {
        let guests = filter.is_none().then(|| scope.spawn(vm::prepare));
        steps.check("end-to-end tests, as root", || {
            cargo_test(&["--test", "*"], only, true)
        });
        guests.map(|guests| {
            let prepared = guests.join();
            prepared.unwrap_or_else(|_| Err(anyhow!("the thread that prepares guests panicked")))
        })
    });
    steps.check("nothing left behind", || before.expect_nothing_new());
    if let Some(guests) = guests {
        steps.check("other kernels, in guests", || guests.and_then(vm::test));
    }
    Ok(())
}

/// `cargo test` over the workspace; all of it runs, also after a failure.
fn cargo_test(selection: &[&str], filter: &[&str], as_root: bool) -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo
        .args(["test", "--workspace", "--no-fail-fast"])
        .args(selection)
        .args(filter);
    if as_root && !step::is_root() {
        say("these tests load kernel programs: cargo starts them through sudo");
        let (name, value) = sudo_runner()?;
        cargo.env(name, value);
    }
    step::run(&mut cargo)
}

/// The variable that has cargo start test programs through sudo, for cargo
/// itself to stay what the user runs and `target` to stay the user's.
fn sudo_runner() -> Result<(String, String)> {
    let path = std::env::var("PATH").context("read PATH")?;
    if path.contains(char::is_whitespace) {
        bail!(
            "PATH holds white space, which cargo's runner cannot hand to sudo: run this command as root"
        );
    }
    // sudo needs to be there; PATH goes by env(1), since sudo sets its own.
    let sudo = step::as_root("env").map(|command| step::shown(&command))?;
    let about = step::output(workspace::cargo().arg("-vV"))?;
    let host = about
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("cargo -vV names no host")?;
    let sudo = sudo.replacen("sudo", "sudo -E", 1);
    Ok((runner_variable(host), format!("{sudo} PATH={path}")))
}

/// CARGO_TARGET_<triple>_RUNNER (doc.rust-lang.org/cargo/reference/config.html).
fn runner_variable(host: &str) -> String {
    format!(
        "CARGO_TARGET_{}_RUNNER",
        host.to_uppercase().replace(['-', '.'], "_")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_variable_is_named_as_cargo_names_it() {
        assert_eq!(
            runner_variable("x86_64-unknown-linux-gnu"),
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER"
        );
    }
}
