//! What an act says beside itself: that work leaves the session, or that it is
//! against the recorder. Each is a record of its own, after the act's.

use super::handoff::HandOffs;
use super::path::KnownPath;
use super::tamper::Own;
use crate::record::proto;
use proto::record::Body;

/// By what records follow from acts.
#[derive(Debug)]
pub struct Derivation {
    /// Ways out of a session.
    pub handoffs: HandOffs,
    /// What is the recorder's.
    pub own: Own,
}

impl Derivation {
    /// What a record says beside its act, done by this process.
    pub(super) fn records_of(&self, body: &Body, process: &proto::Process) -> Vec<Body> {
        let cwd = KnownPath::new(&process.cwd, process.cwd_truncated);
        let handed = self.handoffs.in_record(body, &cwd).map(Body::HandOff);
        let tampered = self.own.in_record(body, &cwd).map(Body::Tamper);
        handed.into_iter().chain(tampered).collect()
    }
}
