//! What was lost, recorded once each: differences of exact counters.

use agent_recorder_abi::event::{KINDS, Kind, Trouble};

use super::Error;
use super::core::Core;
use super::records::Records;
use super::takeover::checkpoint_tail::counts;
use crate::bpf::Counters;
use crate::record::{LossStage, proto};
use crate::session::Totalled;

/// What came out of the rings, and what was lost on its way.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Events that came out of the rings, by kind.
    pub(super) delivered: [u64; KINDS],
    /// What was recorded so far.
    recorded: Counters,
    /// Events that left the rings and were lost with a recorder before this one, by kind.
    pub(super) crashed: [u64; KINDS],
    /// What of those was recorded.
    recorded_crashed: [u64; KINDS],
    recorded_damaged: u64,
    recorded_pending: u64,
    /// Events that did not decode.
    pub(super) damaged: u64,
    /// Announcements that had no room.
    pending: u64,
}

impl Losses {
    /// Goes on from what a recorder before this one knew.
    pub(super) fn go_on_from(&mut self, left: &proto::Checkpoint) {
        self.delivered = counts(&left.delivered);
        self.crashed = counts(&left.crashed);
        self.recorded_crashed = self.crashed;
        self.recorded = Counters {
            lost: counts(&left.told_lost),
            troubles: counts(&left.told_troubles),
            skipped: left.told_skipped,
            ..Counters::default()
        };
    }

    /// What was recorded of the kernel's counters, for the checkpoint.
    pub(super) fn recorded(&self) -> &Counters {
        &self.recorded
    }

    /// An event of this kind came out of the rings.
    pub(super) fn count_delivered(&mut self, kind: u16) {
        if let Some(count) = self.delivered.get_mut(usize::from(kind)) {
            *count += 1;
        }
    }

    /// Records lost since the recorder started, by every cause.
    pub(super) fn total(&self, records: &Records) -> u64 {
        self.recorded.lost.iter().sum::<u64>()
            + self.recorded_crashed.iter().sum::<u64>()
            + self.recorded.skipped
            + self.recorded_damaged
            + self.recorded_pending
            + records.spool().dropped()
    }

    /// Records what was lost since the last call, here and in the spool.
    ///
    /// # Errors
    ///
    /// The kernel's counters cannot be read.
    pub(super) fn record(&mut self, core: &mut Core) -> Result<(), Error> {
        let counters = core.kernel.counters()?;
        self.pending = core.tracker.pending_lost;
        let losses = self.news(&counters);
        let bodies = losses.into_iter().map(proto::record::Body::Loss);
        let records: Vec<_> = bodies
            .chain(core.records.take_news())
            .map(|body| core.tracker.stream_record(body))
            .collect();
        if !records.is_empty() {
            core.store(records);
            core.records.sync();
        }
        Ok(())
    }

    /// A loss record's content for each stage that lost something since the last call.
    fn news(&mut self, now: &Counters) -> Vec<proto::Loss> {
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
                        now.lost(kind).saturating_sub(self.recorded.lost(kind)),
                    )
                });
            losses.extend(loss(stage, kinds));
        }
        let kinds = Kind::ALL.iter().map(|&kind| {
            let number = kind as usize;
            let news = self.crashed[number] - self.recorded_crashed[number];
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
                        .saturating_sub(self.recorded.trouble(trouble)),
                )
            });
        losses.extend(loss(LossStage::MapFull, troubles));
        // An upper bound: whose act it was, the kernel does not say.
        losses.extend(loss(
            LossStage::Preempted,
            [("hook", now.skipped.saturating_sub(self.recorded.skipped))],
        ));
        losses.extend(loss(
            LossStage::Decode,
            [("damaged", self.damaged - self.recorded_damaged)],
        ));
        losses.extend(loss(
            LossStage::Pending,
            [("uring", self.pending - self.recorded_pending)],
        ));
        self.recorded = *now;
        self.recorded_crashed = self.crashed;
        (self.recorded_damaged, self.recorded_pending) = (self.damaged, self.pending);
        losses
    }

    /// Made, delivered and lost per kind, and what the guard counted, for a session's end.
    pub(super) fn totals(&self, counters: &Counters, guard_counted: u64) -> Totalled {
        let lost: [u64; KINDS] =
            std::array::from_fn(|kind| counters.lost[kind] + self.crashed[kind]);
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
            delivered: list(&self.delivered),
            lost: list(&lost),
            guard_counted,
        }
    }
}

/// A loss record's content, if anything was lost in this stage.
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
