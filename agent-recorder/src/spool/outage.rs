//! Records in memory while the disk cannot be written, and the order in which they
//! are dropped.
//!
//! A record is refused before it has a number, so that numbers stay dense. It is
//! counted, and a loss record follows when writing continues.
//!
//! Not here: the class of a record (`record::kinds`).

use std::collections::BTreeMap;

use crate::record::{DropClass, Facts, LossStage, proto};

/// Most bytes of frames in memory up to which a record of the lowest class is
/// accepted.
const LOW_BYTES: usize = 1 << 20;
const NORMAL_BYTES: usize = 4 << 20;
const HIGH_BYTES: usize = 8 << 20;

/// Most bytes of frames in memory up to which a record like this is accepted.
pub(super) fn room(record: &proto::Record) -> usize {
    let class = record.body.as_ref().map(|body| Facts::of(body).drop_class);
    match class {
        Some(DropClass::First) => LOW_BYTES,
        Some(DropClass::Middle) | None => NORMAL_BYTES,
        Some(DropClass::Last) => HIGH_BYTES,
    }
}

/// The kind under which a loss record counts a record.
pub(super) fn kind(record: &proto::Record) -> &'static str {
    let body = record.body.as_ref();
    body.map_or("none", |body| Facts::of(body).counted_as)
}

/// Records that were dropped, per kind.
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

    /// All dropped records, whether a loss record counted them or not.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The dropped records that no loss record counted yet.
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
