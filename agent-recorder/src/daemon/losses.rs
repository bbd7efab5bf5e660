//! Losses, each recorded once: differences of exact counters.

use agent_recorder_abi::event::{KINDS, Kind, Trouble};

use super::Error;
use super::core::Core;
use super::records::Records;
use super::takeover::checkpoint_tail::counts;
use crate::bpf::Counters;
use crate::record::{LossStage, proto};
use crate::session::Totalled;

/// Events that were read from the rings, and losses on the way to a record.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Events read from the rings, by kind.
    pub(super) delivered: [u64; KINDS],
    /// Counters whose losses are recorded.
    recorded: Counters,
    /// Events that were read from the rings and lost with an earlier recorder, by
    /// kind.
    pub(super) crashed: [u64; KINDS],
    /// The recorded part of `crashed`.
    recorded_crashed: [u64; KINDS],
    recorded_damaged: u64,
    recorded_pending: u64,
    /// Events that could not be decoded.
    pub(super) damaged: u64,
    /// Announcements of io_uring for which there was no room.
    pending: u64,
}

impl Losses {
    /// Continues from the counts of an earlier recorder.
    pub(super) fn go_on_from(&mut self, left: &proto::Checkpoint) {
        self.delivered = counts(&left.delivered);
        self.crashed = counts(&left.crashed);
        self.recorded_crashed = self.crashed;
        self.recorded = Counters {
            lost: counts(&left.recorded_lost),
            troubles: counts(&left.recorded_troubles),
            skipped: left.recorded_skipped,
            ..Counters::default()
        };
    }

    /// The recorded part of the kernel's counters, for the checkpoint.
    pub(super) fn recorded(&self) -> &Counters {
        &self.recorded
    }

    /// Counts an event of this kind that was read from the rings.
    pub(super) fn count_delivered(&mut self, kind: u16) {
        if let Some(count) = self.delivered.get_mut(usize::from(kind)) {
            *count += 1;
        }
    }

    /// Records lost since the recorder started, for every cause.
    pub(super) fn total(&self, records: &Records) -> u64 {
        self.recorded.lost.iter().sum::<u64>()
            + self.recorded_crashed.iter().sum::<u64>()
            + self.recorded.skipped
            + self.recorded_damaged
            + self.recorded_pending
            + records.spool().dropped()
    }

    /// Records the losses since the last call, in the kernel, here and in the spool.
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

    /// The content of a loss record for each stage that lost something since the last
    /// call.
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
            // A cut path has a flag in its record, and no record is missing.
            .filter(|trouble| !matches!(trouble, Trouble::WalkCut))
            .map(|&trouble| {
                (
                    trouble.name(),
                    now.trouble(trouble)
                        .saturating_sub(self.recorded.trouble(trouble)),
                )
            });
        losses.extend(loss(LossStage::MapFull, troubles));
        // An upper bound: the kernel does not tell whose act a skipped program
        // missed.
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

    /// Events made, delivered and lost per kind, and the guard's count, for a
    /// session's end.
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

/// The content of a loss record for this stage; `None` where nothing was lost.
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
