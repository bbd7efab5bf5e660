//! What is held while nothing can be written, and what of it goes first.
//!
//! A record is refused before it has a number, so that numbers stay dense; it
//! is counted, and told of in a loss record when writing goes on.

use std::collections::BTreeMap;

use crate::record::{DropClass, Facts, LossStage, proto};

/// Frames held for want of a disk, bytes: a record of a class is refused when more is held.
const LOW_BYTES: usize = 1 << 20;
const NORMAL_BYTES: usize = 4 << 20;
const HIGH_BYTES: usize = 8 << 20;

/// How much may be held for a record like this to be held, too.
pub(super) fn room(record: &proto::Record) -> usize {
    let class = record.body.as_ref().map(|body| Facts::of(body).drop_class);
    match class {
        Some(DropClass::First) => LOW_BYTES,
        Some(DropClass::Middle) | None => NORMAL_BYTES,
        Some(DropClass::Last) => HIGH_BYTES,
    }
}

/// What a record is counted as.
pub(super) fn kind(record: &proto::Record) -> &'static str {
    let body = record.body.as_ref();
    body.map_or("none", |body| Facts::of(body).counted_as)
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
            stage: LossStage::Spool.name().to_owned(),
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
