//! The state that every stage works on: the kernel programs, the sessions, the
//! stream.
//!
//! Not here: anything that only one stage knows.

use std::collections::BTreeSet;

use agent_recorder_abi::event::Header;
use agent_recorder_abi::state::{SessionNumber, USER_SESSION};

use super::Error;
use super::records::Records;
use crate::bpf::{self, Kernel, Tags};
use crate::guard;
use crate::record::{RecorderEvent, SessionId, proto};
use crate::session::{Begin, Tracker};

/// The state that every stage works on.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) kernel: Kernel,
    pub(super) tracker: Tracker,
    pub(super) records: Records,
    /// The session number that was given out last.
    last_session: SessionNumber,
    /// Whether the checkpoint lacks something that happened.
    pub(super) is_unkept: bool,
}

impl Core {
    pub(super) fn new(kernel: Kernel, tracker: Tracker, records: Records) -> Self {
        Self {
            kernel,
            tracker,
            records,
            last_session: USER_SESSION,
            is_unkept: false,
        }
    }

    /// A session number that is not in use.
    pub(super) fn new_number(&mut self) -> SessionNumber {
        self.last_session += 1;
        self.last_session
    }

    pub(super) fn last_number(&self) -> SessionNumber {
        self.last_session
    }

    /// Skips the numbers up to `last`: an earlier recorder gave them out.
    pub(super) fn skip_numbers(&mut self, last: SessionNumber) {
        self.last_session = self.last_session.max(last);
    }

    /// Begins a session that user space creates, in the kernel and in the registry.
    ///
    /// # Errors
    ///
    /// The kernel's map of sessions is full.
    pub(super) fn begin_session(&mut self, begin: Begin) -> Result<SessionId, Error> {
        self.kernel.begin_session(begin.number)?;
        Ok(self.tracker.begin_session(begin))
    }

    pub(super) fn store(&mut self, records: impl IntoIterator<Item = proto::Record>) {
        self.records.append(records);
    }

    /// Records something about the recorder itself.
    pub(super) fn record_event(&mut self, event: RecorderEvent, detail: &str) {
        let body = proto::record::Body::StreamEvent(proto::StreamEvent {
            event: event.name().to_owned(),
            detail: detail.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let record = self.tracker.stream_record(body);
        self.store([record]);
    }

    /// Records a change to the kernel programs whose author is unknown.
    pub(super) fn record_tamper(&mut self, act: proto::TamperAct, detail: String) {
        let body = proto::record::Body::Tamper(proto::Tamper {
            act: act.into(),
            detail,
            ..Default::default()
        });
        let record = self.tracker.stream_record(body);
        self.store([record]);
        self.records.sync();
    }

    /// Records an enforcement of the guard or the gate on the process of this header.
    pub(super) fn record_enforcement(&mut self, header: &Header, done: proto::Enforcement) {
        let record = self.tracker.enforcement(header, done);
        self.store([record]);
        self.records.sync();
    }

    /// Ends every process of a session.
    ///
    /// # Errors
    ///
    /// The kernel's map cannot be written.
    pub(super) fn kill(&mut self, number: SessionNumber) -> Result<guard::Killed, Error> {
        if let Some(session) = self.tracker.registry.get_mut(number) {
            session.killed = true;
            if session.cause.is_empty() {
                session.cause = "an operator ended it".to_owned();
            }
        }
        self.kernel.condemn(number)?;
        Ok(guard::kill(self.kernel.tags(), number))
    }

    /// Stops every process of a session.
    pub(super) fn freeze(&mut self, number: SessionNumber) -> guard::Frozen {
        let frozen = guard::freeze(self.kernel.tags(), number);
        if let Some(session) = self.tracker.registry.get_mut(number) {
            session.frozen = true;
            if session.cause.is_empty() {
                session.cause = "an operator stopped it".to_owned();
            }
            session
                .frozen_cgroups
                .extend(frozen.cgroups.iter().cloned());
        }
        frozen
    }

    /// Lets every process of a session continue. Its budgets begin anew.
    ///
    /// # Errors
    ///
    /// The kernel's map cannot be written.
    pub(super) fn resume(&mut self, number: SessionNumber) -> Result<BTreeSet<u32>, Error> {
        // The pardon comes before any process runs: otherwise its next call would
        // stop it again.
        self.kernel.pardon(number)?;
        let mut cgroups = BTreeSet::new();
        if let Some(session) = self.tracker.registry.get_mut(number) {
            session.frozen = false;
            session.cause.clear();
            cgroups = std::mem::take(&mut session.frozen_cgroups);
        }
        Ok(guard::thaw(self.kernel.tags(), number, &cgroups))
    }

    /// Refuses an operator's command from a member of a session.
    ///
    /// # Errors
    ///
    /// The process is a member, or its membership cannot be determined.
    pub(super) fn must_be_outside(&self, caller: Option<u32>) -> Result<(), String> {
        let is_outside = caller
            .and_then(|pid| guard::is_member(self.kernel.tags(), pid))
            .is_some_and(|is_member| !is_member);
        if is_outside {
            Ok(())
        } else {
            Err("the caller is a member of a session, or has ended".to_owned())
        }
    }
}

/// Every process that is in a session, with the session's number.
pub(super) fn tagged(tags: &Tags) -> Result<Vec<(u32, SessionNumber)>, Error> {
    guard::tagged(tags).map_err(|source| {
        let what = "looking for the members of sessions in /proc";
        bpf::Error::System { what, source }.into()
    })
}
