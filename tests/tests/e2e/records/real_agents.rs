//! A real agent, installed from npm, at work beside the recorder.
//!
//! Claude Code only: `cargo xtask agents` tries all the others. Needs root,
//! npm, strace and make. Each step of [`trial`] is bounded in time.

use agent_recorder_tests::lab::agents::catalog;
use agent_recorder_tests::lab::agents::install::{Installed, install};
use agent_recorder_tests::lab::agents::trial::{self, Outcome};
use agent_recorder_tests::lab::host;

fn claude_code() -> anyhow::Result<Installed> {
    install(&catalog::AGENTS[0], false)
}

fn assert_ok(outcome: &Outcome) {
    assert!(
        outcome.findings.failures.is_empty(),
        "{:#?}\nkept in {:?}",
        outcome.findings.failures,
        outcome.kept
    );
}

#[test]
fn a_real_agent_does_all_that_the_scripted_model_orders() -> anyhow::Result<()> {
    let _host = host::alone();
    assert_ok(&trial::alone(&claude_code()?)?);
    Ok(())
}

#[test]
fn a_real_agent_is_recognised_recorded_and_stopped_at_the_limit() -> anyhow::Result<()> {
    let _host = host::alone();
    let outcome = trial::guarded(&claude_code()?)?;
    assert_ok(&outcome);
    assert_eq!(outcome.findings.seen, outcome.calls);
    Ok(())
}
