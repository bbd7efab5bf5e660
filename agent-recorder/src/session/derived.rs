//! What an act says beside itself: that work leaves the session, or that it is
//! against the recorder. Each is a record of its own, after the act's.

use super::handoff::HandOffs;
use super::tamper::Own;
use crate::record::proto::record::Body;

/// By what records follow from acts.
#[derive(Debug)]
pub struct Derivation {
    /// Ways out of a session.
    pub handoffs: HandOffs,
    /// What is the recorder's.
    pub own: Own,
}

impl Derivation {
    /// What a record says beside its act, done in this working directory.
    pub(super) fn records_of(&self, body: &Body, cwd: &[u8]) -> Vec<Body> {
        let handed = self.handoffs.in_record(body, cwd).map(Body::HandOff);
        let tampered = self.own.in_record(body, cwd).map(Body::Tamper);
        handed.into_iter().chain(tampered).collect()
    }
}
