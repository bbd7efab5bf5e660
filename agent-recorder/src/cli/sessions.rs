//! `sessions`, `kill`, `freeze`, `resume`: lists the daemon's sessions, and acts on
//! them.

use std::process::ExitCode;

use serde_json::json;

use super::connect::connect;
use super::{Common, Error, Format};
use crate::control::Act;
use crate::record::{SessionId, proto};
use crate::replay::escaped;

/// Arguments of `sessions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Arguments of the commands on one session.
#[derive(Debug, clap::Args)]
pub struct ActArgs {
    /// The session's id or the beginning of it, or `last` for the newest that runs
    #[arg(value_name = "ID")]
    session: String,
}

/// Lists the running sessions.
pub(super) fn run(args: &Args, common: &Common) -> Result<ExitCode, Error> {
    let mut client = connect(common)?;
    let proto::SessionsResponse { sessions, holds } = client.sessions()?;
    if args.format == Format::Text {
        println!(
            "{:<36}  {:<12}  {:<24}  {:>8}  {:>9}  {:>9}",
            "SESSION", "AGENT", "RULE", "ROOT PID", "PROCESSES", "DESTROYED"
        );
    }
    for session in &sessions {
        let id = id_of(session).map(|id| id.to_string()).unwrap_or_default();
        match args.format {
            Format::Text => println!(
                "{id:<36}  {:<12}  {:<24}  {:>8}  {:>9}  {:>9}{}{}",
                escaped(session.agent.as_bytes()),
                escaped(session.rule.as_bytes()),
                session.root_pid,
                session.live_processes,
                session.files_destroyed,
                if session.frozen { "  frozen" } else { "" },
                if session.cause.is_empty() {
                    String::new()
                } else {
                    format!("  {}", escaped(session.cause.as_bytes()))
                }
            ),
            Format::Json => println!("{}", to_json(&id, session)),
        }
    }
    for hold in &holds {
        match args.format {
            Format::Text => println!("{}", super::gate::shown(hold)),
            Format::Json => println!("{}", super::gate::to_json(hold)),
        }
    }
    show_flow(&client.status()?);
    Ok(ExitCode::SUCCESS)
}

/// Prints the state of the stream to the collector.
fn show_flow(status: &proto::StatusResponse) {
    let Some(flow) = &status.flow else { return };
    eprintln!(
        "agent-recorder: the collector {}: {} of {} records acknowledged, {} batches of {} bytes on their way",
        if flow.connected {
            "answers"
        } else {
            "does not answer"
        },
        status.acknowledged_seq,
        status.last_seq,
        flow.batches,
        flow.bytes
    );
}

fn to_json(id: &str, session: &proto::SessionInfo) -> serde_json::Value {
    let proto::SessionInfo {
        session_id: _,
        agent,
        name,
        rule,
        started_unix_ns,
        ended_unix_ns: _,
        root_pid,
        live_processes,
        records,
        files_destroyed,
        killed,
        frozen,
        lost,
        cause,
    } = session;
    json!({
        "sessionId": id, "agent": agent, "name": name, "rule": rule, "startedUnixNs": started_unix_ns,
        "rootPid": root_pid, "liveProcesses": live_processes, "records": records,
        "filesDestroyed": files_destroyed, "killed": killed, "frozen": frozen, "lost": lost, "cause": cause,
    })
}

/// Kills, freezes or resumes a session.
pub(super) fn act(args: &ActArgs, act: Act, common: &Common) -> Result<ExitCode, Error> {
    let mut client = connect(common)?;
    let session = find(&client.sessions()?.sessions, &args.session)?;
    let response = client.act(session, act)?;
    let done = match act {
        Act::Kill => "killed",
        Act::Freeze => "stopped",
        Act::Resume => "continued",
    };
    eprintln!(
        "agent-recorder: session {session}: {done} {} processes, {} survive",
        response.pids.len(),
        response.survivors
    );
    Ok(if response.survivors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn id_of(session: &proto::SessionInfo) -> Option<SessionId> {
    SessionId::from_bytes(&session.session_id)
}

fn find(sessions: &[proto::SessionInfo], wanted: &str) -> Result<SessionId, Error> {
    let ids: Vec<SessionId> = sessions.iter().filter_map(id_of).collect();
    if wanted == "last" {
        return ids
            .last()
            .copied()
            .ok_or_else(|| Error::Usage("no session is running".to_owned()));
    }
    let matching: Vec<&SessionId> = ids
        .iter()
        .filter(|id| id.to_string().starts_with(&wanted.to_lowercase()))
        .collect();
    match matching.as_slice() {
        [id] => Ok(**id),
        [] => Err(Error::Usage(format!(
            "no running session has an id that begins with {}",
            escaped(wanted.as_bytes())
        ))),
        more => Err(Error::Usage(format!(
            "{} sessions have ids that begin so: give more of it",
            more.len()
        ))),
    }
}
