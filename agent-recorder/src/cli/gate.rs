//! `approve`, `deny`: a person's answer for a held program.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::connect::connect;
use super::{Common, Error};
use crate::config::Answer;
use crate::record::{SessionId, proto};
use crate::replay::escaped;

/// Arguments of `approve` and `deny`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the hold, as `sessions`, the log and the hold's record have it
    #[arg(value_name = "HOLD")]
    hold: String,
}

/// Sends the answer to the daemon.
pub(super) fn run(args: &Args, answer: Answer, common: &Common) -> Result<ExitCode, Error> {
    let argv = connect(common)?.decide(&args.hold, answer)?;
    let done = match answer {
        Answer::Approve => "runs",
        Answer::Deny => "ended before it ran",
    };
    eprintln!("agent-recorder: {done}: {}", line(&argv));
    Ok(ExitCode::SUCCESS)
}

fn line(argv: &[Vec<u8>]) -> String {
    let words: Vec<_> = argv.iter().map(|word| escaped(word)).collect();
    words.join(" ")
}

/// A held program as a line.
pub(super) fn shown(hold: &proto::HoldInfo) -> String {
    format!(
        "{:<36}  held: {} ({}, process {}, {} s left): {}",
        session_of(hold),
        escaped(hold.id.as_bytes()),
        escaped(hold.rule.as_bytes()),
        hold.pid,
        Duration::from_nanos(hold.left_ns).as_secs(),
        line(&hold.argv)
    )
}

/// A held program as JSON.
pub(super) fn to_json(hold: &proto::HoldInfo) -> serde_json::Value {
    let argv: Vec<_> = hold
        .argv
        .iter()
        .map(|it| String::from_utf8_lossy(it))
        .collect();
    json!({
        "hold": hold.id, "sessionId": session_of(hold), "pid": hold.pid, "rule": hold.rule,
        "argv": argv, "leftNs": hold.left_ns,
    })
}

fn session_of(hold: &proto::HoldInfo) -> String {
    let id = SessionId::from_bytes(&hold.session_id);
    id.map(|id| id.to_string()).unwrap_or_default()
}
