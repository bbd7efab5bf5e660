//! Callers that wait for the end of a session, and the status for operators.
//!
//! Not here: the effect of operators' requests (`requests`).

use tokio::sync::oneshot;

use super::core::Core;
use crate::record::{SessionId, proto};
use crate::session::Session;
use crate::stream;

/// The channel on which a waiting caller receives a session's end.
type Reply = oneshot::Sender<Result<proto::SessionInfo, String>>;

/// Waiting callers, and the status for operators.
#[derive(Debug, Default)]
pub(super) struct Operators {
    waiting: Vec<(SessionId, Reply)>,
    /// State of the stream to the collector.
    flow: Option<stream::Flow>,
}

impl Operators {
    /// Replaces the stream's state, which the status shows.
    pub(super) fn show_flow(&mut self, flow: stream::Flow) {
        self.flow = Some(flow);
    }

    /// Answers when the session ends, or now if it has ended. `lost`: records lost so
    /// far.
    pub(super) fn wait_for(&mut self, core: &Core, lost: u64, id: SessionId, reply: Reply) {
        let sessions = &core.tracker.registry;
        if sessions.by_id(id).is_some() {
            self.waiting.push((id, reply));
            return;
        }
        let ended = sessions.ended().find(|session| session.id == id);
        // A caller that is gone needs no answer.
        let _ = reply.send(
            ended
                .map(|session| info(session, lost))
                .ok_or_else(|| format!("no session {id}")),
        );
    }

    /// Answers the callers that wait for this session's end.
    pub(super) fn on_session_end(&mut self, core: &Core, lost: u64, id: SessionId) {
        let waiting: Vec<_> = self
            .waiting
            .extract_if(.., |(session, _)| *session == id)
            .collect();
        for (session, reply) in waiting {
            self.wait_for(core, lost, session, reply);
        }
    }

    /// The status of the recorder.
    pub(super) fn status(&self, core: &Core) -> proto::StatusResponse {
        let spool = core.records.spool();
        proto::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: core.kernel.profile().to_string(),
            stream_id: spool.stream_id().to_bytes(),
            last_seq: spool.last_seq().0,
            acknowledged_seq: self.flow.map_or(0, |flow| flow.acknowledged.0),
            pid: std::process::id(),
            flow: self.flow.map(|flow| proto::StreamFlow {
                connected: flow.connected,
                batches: flow.batches as u64,
                bytes: flow.bytes as u64,
            }),
        }
    }
}

/// A session's data for operators. `lost`: records lost so far.
pub(super) fn info(session: &Session, lost: u64) -> proto::SessionInfo {
    proto::SessionInfo {
        session_id: session.id.to_bytes(),
        agent: session.agent.clone(),
        name: session.name.clone(),
        rule: session.rule.clone(),
        started_unix_ns: session.started_unix_ns,
        ended_unix_ns: session.ended_unix_ns,
        root_pid: session.root,
        live_processes: u32::try_from(session.live.len()).unwrap_or(u32::MAX),
        records: session.totals.records,
        files_destroyed: session.totals.files_destroyed,
        killed: session.killed,
        cause: session.cause.clone(),
        frozen: session.frozen,
        lost,
    }
}
