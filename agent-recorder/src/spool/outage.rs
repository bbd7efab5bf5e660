//! What is held while nothing can be written, and what of it goes first.
//!
//! A record is refused before it has a number, so that numbers stay dense; it
//! is counted, and told of in a loss record when writing goes on.

use std::collections::BTreeMap;

use crate::record::proto;
use proto::record::Body;

/// Frames held for want of a disk, bytes: a record of a class is refused when more is held.
const LOW_BYTES: usize = 1 << 20;
const NORMAL_BYTES: usize = 4 << 20;
const HIGH_BYTES: usize = 8 << 20;

/// How much may be held for a record like this to be held, too.
pub(super) fn room(record: &proto::Record) -> usize {
    match &record.body {
        // A flood of opens must not push out what was done.
        Some(Body::File(file)) if file.op() == proto::FileOp::Open => LOW_BYTES,
        Some(Body::Dns(_)) => LOW_BYTES,
        Some(
            Body::SessionStart(_)
            | Body::SessionEnd(_)
            | Body::Enforcement(_)
            | Body::Loss(_)
            | Body::StreamEvent(_)
            | Body::Tamper(_),
        ) => HIGH_BYTES,
        _ => NORMAL_BYTES,
    }
}

/// What a record is counted as.
pub(super) fn kind(record: &proto::Record) -> &'static str {
    match &record.body {
        None => "none",
        Some(Body::SessionStart(_) | Body::SessionEnd(_)) => "session",
        Some(Body::Exec(_)) => "exec",
        Some(Body::Fork(_)) => "fork",
        Some(Body::Exit(_)) => "exit",
        Some(Body::File(file)) => match file.op() {
            proto::FileOp::Delete | proto::FileOp::Rmdir => "delete",
            proto::FileOp::Open => "open",
            _ => "file",
        },
        Some(Body::Network(_)) => "network",
        Some(Body::Dns(_)) => "dns",
        Some(Body::Enforcement(_)) => "enforcement",
        Some(Body::Loss(_)) => "loss",
        Some(Body::StreamEvent(_)) => "stream_event",
        Some(Body::Control(_)) => "control",
        Some(Body::HandOff(_)) => "hand_off",
        Some(Body::Heir(_)) => "heir",
        Some(Body::Tamper(_)) => "tamper",
    }
}

/// Records that were not kept, per kind.
#[derive(Debug, Default)]
pub(super) struct Drops {
    untold: BTreeMap<&'static str, u64>,
    total: u64,
}

impl Drops {
    pub(super) fn count(&mut self, kind: &'static str) {
        *self.untold.entry(kind).or_default() += 1;
        self.total += 1;
    }

    /// All of them, told of or not.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Those that were not told of yet.
    pub(super) fn take(&mut self) -> Option<proto::Loss> {
        let untold = std::mem::take(&mut self.untold);
        (!untold.is_empty()).then(|| proto::Loss {
            stage: super::STAGE.to_owned(),
            count: untold.values().sum(),
            kinds: untold
                .into_iter()
                .map(|(kind, count)| proto::KindCount {
                    kind: kind.to_owned(),
                    count,
                })
                .collect(),
            ..Default::default()
        })
    }
}
