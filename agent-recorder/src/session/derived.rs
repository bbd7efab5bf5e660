//! Records that follow from an act: a hand-off, or a tamper record. Each is a record
//! of its own, after that of the act.

use super::handoff::HandOffs;
use super::path::KnownPath;
use super::tamper::Own;
use crate::record::proto;
use proto::record::Body;

/// The configuration of derived records.
#[derive(Debug)]
pub struct Derivation {
    /// Ways by which work leaves a session.
    pub handoffs: HandOffs,
    /// The recorder's own processes and files.
    pub own: Own,
}

impl Derivation {
    /// The records that follow from an act of this process.
    pub(super) fn records_of(&self, body: &Body, process: &proto::Process) -> Vec<Body> {
        let cwd = KnownPath::new(&process.cwd, process.cwd_truncated);
        let handed = self.handoffs.in_record(body, &cwd).map(Body::HandOff);
        let tampered = self.own.in_record(body, &cwd).map(Body::Tamper);
        handed.into_iter().chain(tampered).collect()
    }
}
