//! Operators' requests, answered between two batches.
//!
//! Not here: the socket of the requests (`control`).

use super::operators::info;
use super::{Error, Recorder};
use crate::control::{Act, Request};
use crate::record::{SessionId, proto};

impl Recorder {
    /// Answers one request. True when it was the last.
    ///
    /// # Errors
    ///
    /// The recorder itself failed. A request that fails alone answers its caller with
    /// the error.
    pub fn serve(&mut self, request: Request) -> Result<bool, Error> {
        // A caller that is gone needs no answer.
        match request {
            Request::Register {
                pid,
                name,
                agent,
                reply,
            } => {
                let registered = self.register(pid, &agent, &name);
                let _ = reply.send(registered.map_err(|error| error.to_string()));
            }
            Request::Wait { session, reply } => {
                let lost = self.lost();
                self.operators.wait_for(&self.core, lost, session, reply);
            }
            Request::Sessions { reply } => {
                let _ = reply.send(self.list());
            }
            Request::Act {
                session,
                act,
                caller,
                reply,
            } => {
                let done = match self.core.must_be_outside(caller) {
                    Ok(()) => self.act(session, act)?,
                    Err(why) => Err(why),
                };
                let _ = reply.send(done);
            }
            Request::Decide {
                hold,
                answer,
                caller,
                uid,
                reply,
            } => {
                let allowed = self.core.must_be_outside(caller);
                let decided = allowed
                    .and_then(|()| self.exec_gate.decide(&mut self.core, &hold, answer, uid));
                let _ = reply.send(decided);
            }
            Request::Status { reply } => {
                let _ = reply.send(self.operators.status(&self.core));
            }
            Request::Stop => return Ok(true),
        }
        Ok(false)
    }

    fn list(&self) -> proto::SessionsResponse {
        let lost = self.lost();
        let live = self.sessions().live().into_iter();
        proto::SessionsResponse {
            sessions: live.map(|session| info(session, lost)).collect(),
            holds: self.exec_gate.holds(self.sessions()),
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
                let killed = self.core.kill(number)?;
                (killed.pids, killed.survivors.len())
            }
            // A freeze by an operator leaves the kernel's flag unset: the flag
            // refuses calls, and a resumed process shall not have noticed the freeze.
            Act::Freeze => (self.core.freeze(number).pids, 0),
            Act::Resume => (self.core.resume(number)?, 0),
        };
        let survivors = u32::try_from(survivors).unwrap_or(u32::MAX);
        Ok(Ok(proto::ActionResponse {
            pids: pids.into_iter().collect(),
            survivors,
        }))
    }
}
