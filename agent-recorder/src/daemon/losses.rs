//! What was lost, told once each: differences of exact counters.

use agent_recorder_abi::event::{KINDS, Kind, Trouble};

use super::takeover::checkpoint_tail::counts;
use crate::bpf::Counters;
use crate::record::{LossStage, proto};
use crate::session::Totalled;

/// What was told of so far, and what this side lost.
#[derive(Debug, Default)]
pub(super) struct LossLedger {
    pub(super) told: Counters,
    /// Events that left the rings and were lost with a recorder before this one, by kind.
    pub(super) crashed: [u64; KINDS],
    /// What of those was told of.
    pub(super) told_crashed: [u64; KINDS],
    told_damaged: u64,
    told_pending: u64,
    /// Events that did not decode.
    pub(super) damaged: u64,
    /// Announcements that had no room.
    pub(super) pending: u64,
}

impl LossLedger {
    /// Goes on from what a recorder before this one knew.
    pub(super) fn go_on_from(&mut self, left: &proto::Checkpoint) {
        self.crashed = counts(&left.crashed);
        self.told_crashed = self.crashed;
        self.told = Counters {
            lost: counts(&left.told_lost),
            troubles: counts(&left.told_troubles),
            skipped: left.told_skipped,
            ..Counters::default()
        };
    }

    /// All that was told of.
    pub(super) fn total(&self) -> u64 {
        self.told.lost.iter().sum::<u64>()
            + self.told_crashed.iter().sum::<u64>()
            + self.told.skipped
            + self.told_damaged
            + self.told_pending
    }

    /// A loss record's content for each stage that lost something since the last call.
    pub(super) fn news(&mut self, now: &Counters) -> Vec<proto::Loss> {
        let mut losses = Vec::new();
        for (stage, priority) in [
            (LossStage::RingPriority, true),
            (LossStage::RingBulk, false),
        ] {
            let kinds = Kind::ALL
                .iter()
                .filter(|kind| kind.is_priority() == priority)
                .map(|&kind| {
                    (
                        kind.name(),
                        now.lost(kind).saturating_sub(self.told.lost(kind)),
                    )
                });
            losses.extend(loss(stage, kinds));
        }
        let kinds = Kind::ALL.iter().map(|&kind| {
            let number = kind as usize;
            let news = self.crashed[number] - self.told_crashed[number];
            (kind.name(), news)
        });
        losses.extend(loss(LossStage::Crash, kinds));
        let troubles = Trouble::ALL
            .iter()
            // A cut path is marked on its record: nothing is missing.
            .filter(|trouble| !matches!(trouble, Trouble::WalkCut))
            .map(|&trouble| {
                (
                    trouble.name(),
                    now.trouble(trouble)
                        .saturating_sub(self.told.trouble(trouble)),
                )
            });
        losses.extend(loss(LossStage::MapFull, troubles));
        // An upper bound: whose act it was, the kernel does not say.
        losses.extend(loss(
            LossStage::Preempted,
            [("hook", now.skipped.saturating_sub(self.told.skipped))],
        ));
        losses.extend(loss(
            LossStage::Decode,
            [("damaged", self.damaged - self.told_damaged)],
        ));
        losses.extend(loss(
            LossStage::Pending,
            [("uring", self.pending - self.told_pending)],
        ));
        self.told = *now;
        self.told_crashed = self.crashed;
        (self.told_damaged, self.told_pending) = (self.damaged, self.pending);
        losses
    }
}

pub(super) fn loss<'a>(
    stage: LossStage,
    kinds: impl IntoIterator<Item = (&'a str, u64)>,
) -> Option<proto::Loss> {
    let kinds: Vec<_> = kinds
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| proto::KindCount {
            kind: kind.to_owned(),
            count,
        })
        .collect();
    let count = kinds.iter().map(|kind| kind.count).sum();
    (count > 0).then(|| proto::Loss {
        stage: stage.name().to_owned(),
        count,
        kinds,
        ..Default::default()
    })
}

/// Made, delivered and lost per kind, and what the guard counted, for a session's end.
pub(super) fn totals(
    counters: &Counters,
    delivered: &[u64; KINDS],
    crashed: &[u64; KINDS],
    guard_counted: u64,
) -> Totalled {
    let lost: [u64; KINDS] = std::array::from_fn(|kind| counters.lost[kind] + crashed[kind]);
    let list = |counts: &[u64; KINDS]| {
        Kind::ALL
            .iter()
            .map(|&kind| proto::KindCount {
                kind: kind.name().to_owned(),
                count: counts[kind as usize],
            })
            .collect()
    };
    Totalled {
        produced: list(&counters.produced),
        delivered: list(delivered),
        lost: list(&lost),
        guard_counted,
    }
}
