//! Operators' requests, answered between two batches.

use std::collections::BTreeSet;

use agent_recorder_abi::state::SessionNumber;
use tokio::sync::oneshot;

use super::{Error, Recorder};
use crate::control::{Act, Request};
use crate::guard;
use crate::record::{SessionId, proto};
use crate::session::Session;

/// Who waits for a session's end.
pub(super) type Waiter = (
    SessionId,
    oneshot::Sender<Result<proto::SessionInfo, String>>,
);

impl Recorder {
    /// Answers one request. True when it was the last.
    ///
    /// # Errors
    ///
    /// The recorder itself failed; what only a request asked for in vain is told to its caller.
    pub fn serve(&mut self, request: Request) -> Result<bool, Error> {
        // A caller that is gone does not want its answer.
        match request {
            Request::Register {
                pid,
                name,
                agent,
                reply,
            } => {
                let result = self
                    .register(pid, &agent, &name)
                    .map_err(|error| error.to_string());
                let _ = reply.send(result);
            }
            Request::Wait { session, reply } => self.wait_for(session, reply),
            Request::Sessions { reply } => {
                let sessions = self
                    .sessions()
                    .live()
                    .into_iter()
                    .map(|session| self.info(session))
                    .collect();
                let holds = self.holds();
                let _ = reply.send(proto::SessionsResponse { sessions, holds });
            }
            Request::Act {
                session,
                act,
                caller,
                reply,
            } => {
                let result = match self.must_be_outside(caller) {
                    Ok(()) => self.act(session, act)?,
                    Err(why) => Err(why),
                };
                let _ = reply.send(result);
            }
            Request::Decide {
                hold,
                answer,
                caller,
                uid,
                reply,
            } => {
                let _ = reply.send(self.decide(&hold, answer, caller, uid));
            }
            Request::Status { reply } => {
                let _ = reply.send(self.status());
            }
            Request::Stop => return Ok(true),
        }
        Ok(false)
    }

    fn wait_for(
        &mut self,
        id: SessionId,
        reply: oneshot::Sender<Result<proto::SessionInfo, String>>,
    ) {
        if self.sessions().by_id(id).is_some() {
            self.waiters.push((id, reply));
            return;
        }
        let ended = self.sessions().ended().find(|session| session.id == id);
        let _ = reply.send(
            ended
                .map(|session| self.info(session))
                .ok_or_else(|| format!("no session {id}")),
        );
    }

    /// Tells those who wait for it that a session has ended.
    pub(super) fn answer_waiters(&mut self, id: SessionId) {
        let (waiting, others): (Vec<Waiter>, Vec<Waiter>) = std::mem::take(&mut self.waiters)
            .into_iter()
            .partition(|(session, _)| *session == id);
        self.waiters = others;
        for (session, reply) in waiting {
            self.wait_for(session, reply);
        }
    }

    fn act(
        &mut self,
        id: SessionId,
        act: Act,
    ) -> Result<Result<proto::ActionResponse, String>, Error> {
        let Some(number) = self.sessions().by_id(id).map(|session| session.number) else {
            return Ok(Err(format!("no session {id} is running")));
        };
        let (pids, survivors) = match act {
            Act::Kill => {
                let killed = self.kill(number)?;
                (killed.pids, killed.survivors.len())
            }
            // Without the kernel's mark: that refuses the calls that it meets,
            // and who is resumed shall not have noticed.
            Act::Freeze => (self.freeze(number).pids, 0),
            Act::Resume => {
                // Before anybody runs, or its next call would stop it again.
                self.kernel.pardon(number)?;
                (self.resume(number), 0)
            }
        };
        let survivors = u32::try_from(survivors).unwrap_or(u32::MAX);
        Ok(Ok(proto::ActionResponse {
            pids: pids.into_iter().collect(),
            survivors,
        }))
    }

    fn resume(&mut self, number: SessionNumber) -> BTreeSet<u32> {
        let mut cgroups = BTreeSet::new();
        if let Some(session) = self.tracker.registry.get_mut(number) {
            session.frozen = false;
            cgroups = std::mem::take(&mut session.frozen_cgroups);
        }
        guard::thaw(self.kernel.tags(), number, &cgroups)
    }

    fn info(&self, session: &Session) -> proto::SessionInfo {
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
            frozen: session.frozen,
            lost: self.lost(),
        }
    }

    fn status(&self) -> proto::StatusResponse {
        proto::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: self.kernel.profile().to_string(),
            stream_id: self.spool.stream_id().to_bytes(),
            last_seq: self.spool.last_seq().0,
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
