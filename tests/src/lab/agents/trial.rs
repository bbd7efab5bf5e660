//! One agent's trial from installation to verdict.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;

use rustix::process::Signal;

use super::install::Installed;
use super::neighbour::Neighbour;
use super::stage::{Run, Stage};
use crate::lab::daemon::Daemon;
use crate::lab::model::log::What;
use crate::lab::recorder::GUARDING_TEMPORARY;
use crate::oracle::check::{self, Findings};

/// The result of a trial.
#[derive(Debug)]
pub struct Outcome {
    /// The recorder's account, and the failures of all checks.
    pub findings: Findings,
    /// Calls of the script.
    pub calls: usize,
    /// Output of an agent that never asked the model for anything.
    pub refused: Option<String>,
    /// Doomed files that are gone.
    pub gone: usize,
    /// Folder of the run, which is kept after a failure.
    pub kept: Option<PathBuf>,
}

/// Runs the agent alone: it does all that the script orders, including the deletion.
pub fn alone(installed: &Installed) -> anyhow::Result<Outcome> {
    let stage = Stage::new()?;
    let script = stage.script(installed.agent.remove);
    let run = stage.run(installed, &script)?;
    let findings = Findings {
        failures: check::work(&run, &stage, script.calls.len(), false)?,
        ..Findings::default()
    };
    outcome(findings, &run, script.calls.len(), stage)
}

/// Runs the agent beside a daemon without a rule for this run, and beside a
/// neighbour: it is recognised, recorded, and stopped.
pub fn guarded(installed: &Installed) -> anyhow::Result<Outcome> {
    let stage = Stage::new()?;
    let script = stage.script(installed.agent.remove);
    let daemon = Daemon::start_with(GUARDING_TEMPORARY)?;
    let neighbour = Neighbour::start(stage.neighbour());
    let run = stage.run(installed, &script)?;
    let neighbours = neighbour.stop()?;
    let records = daemon.finish()?;
    let name = installed.agent.name;
    let mut findings = check::record(&records, &run, &stage, name, &neighbours)?;
    findings
        .failures
        .extend(check::work(&run, &stage, script.calls.len(), true)?);
    // strace ends by the signal that ended the agent.
    let killed = Some(Signal::KILL.as_raw());
    if run.status.is_some_and(|status| status.signal() != killed) {
        findings
            .failures
            .push(format!("the agent was not killed: {:?}", run.status));
    }
    if run.leftovers > 0 {
        findings
            .failures
            .push(format!("{} processes outlived the session", run.leftovers));
    }
    outcome(findings, &run, script.calls.len(), stage)
}

fn outcome(findings: Findings, run: &Run, calls: usize, stage: Stage) -> anyhow::Result<Outcome> {
    let asked = run
        .log
        .iter()
        .any(|entry| matches!(entry.what, What::Request { .. }));
    let refused = (!asked).then(|| run.said.clone());
    let gone = stage.gone()?;
    let kept = (!findings.failures.is_empty()).then(|| stage.keep());
    Ok(Outcome {
        findings,
        calls,
        refused,
        gone,
        kept,
    })
}
