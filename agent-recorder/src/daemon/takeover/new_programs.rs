//! Takeover after an upgrade, or with another configuration of the kernel side: the
//! programs that were left have another layout. New programs replace them, and the
//! sessions move over.
//!
//! The old programs stay attached until every member is tagged anew: a child that is
//! forked meanwhile inherits the old tag, and the next pass finds it. Their events
//! since the daemon was killed have another layout, too, and are recorded as lost.
//!
//! Not here: programs of the same layout (`same_programs`).

use std::collections::BTreeMap;

use agent_recorder_abi::event::{KINDS, Kind};
use agent_recorder_abi::state::{SessionNumber, Tag};

use super::checkpoint_tail::{catch_up, counts};
use crate::bpf::Previous;
use crate::daemon::core::tagged;
use crate::daemon::losses::loss;
use crate::daemon::processes::with_descendants;
use crate::daemon::{Error, Recorder};
use crate::record::{LossStage, RecorderEvent, proto};
use crate::session::{self, authority};

/// Most passes over /proc. A pass that finds no new member is the last.
const MAX_PASSES: usize = 20;

/// A session that moves over.
struct Moved {
    was: SessionNumber,
    is: SessionNumber,
    root: u32,
    /// CLOCK_BOOTTIME, ns.
    began: u64,
}

/// /proc gives start times in ticks, and a session begins a moment after its first
/// process.
const SLACK_NS: u64 = 1_000_000_000;

impl Moved {
    /// The session's first process and its descendants, each with the session's
    /// number. Empty where that process has ended and another has its pid.
    fn tree(&self) -> Vec<(u32, SessionNumber)> {
        let is_root =
            authority::start_time_of(self.root).is_some_and(|start| start <= self.began + SLACK_NS);
        let tree = is_root.then(|| with_descendants(self.root));
        let tree = tree.unwrap_or_default().into_iter();
        tree.map(|pid| (pid, self.is)).collect()
    }
}

impl Recorder {
    /// Moves every session from the programs that were left to the new ones, and
    /// removes the old programs.
    pub(super) fn rebuild(
        &mut self,
        mut left: proto::Checkpoint,
        previous: Vec<Previous>,
    ) -> Result<(), Error> {
        let is_its_own = |it: &Previous| it.number() == Some(left.programs);
        let (own, others): (Vec<_>, Vec<_>) = previous.into_iter().partition(is_its_own);
        // These are programs of recorders that were killed during their takeover.
        others.into_iter().try_for_each(Previous::remove)?;
        let previous = own.into_iter().next();
        let tags = previous.as_ref().and_then(Previous::tags);
        let members = tags.map_or(Ok(Vec::new()), tagged)?;
        catch_up(self.spool(), &mut left, &members)?;
        let sessions = left.sessions.len();
        self.core
            .record_event(RecorderEvent::Rebuilds, &format!("{sessions} sessions"));
        let moved = self.move_sessions(&mut left, previous.as_ref())?;
        for _ in 0..MAX_PASSES {
            if self.tag_anew(previous.as_ref(), &moved)? == 0 {
                break;
            }
        }
        for (pid, was) in members {
            let to = moved.iter().find(|session| session.was == was);
            let is = to.map_or(0, |session| session.is);
            self.exec_gate.answer_unknown(&mut self.core, pid, is, tags);
        }
        if let Some(previous) = &previous {
            self.record_left_behind(&left, previous);
        }
        self.core.records.sync();
        // From this checkpoint on the next recorder takes over the new programs.
        self.keep();
        previous.map_or(Ok(()), Previous::remove)?;
        self.end_empty()?;
        self.strike_condemned()?;
        self.core.records.sync();
        Ok(())
    }

    fn move_sessions(
        &mut self,
        left: &mut proto::Checkpoint,
        previous: Option<&Previous>,
    ) -> Result<Vec<Moved>, Error> {
        self.core.skip_numbers(left.next_session);
        let mut moved = Vec::new();
        for mut session in std::mem::take(&mut left.sessions) {
            let (was, is) = (session.number, self.core.new_number());
            match previous {
                Some(previous) => self.core.kernel.move_session(is, previous, was)?,
                None => self.core.kernel.begin_session(is)?,
            }
            moved.push(Moved {
                was,
                is,
                root: session.root,
                began: session.started_boot_ns,
            });
            session.number = is;
            self.core.tracker.restore(session);
        }
        Ok(moved)
    }

    /// Tags every process that is in an old session and in no new one. Returns their
    /// number.
    fn tag_anew(&mut self, previous: Option<&Previous>, moved: &[Moved]) -> Result<usize, Error> {
        let members: Vec<_> = match previous.and_then(Previous::tags) {
            Some(tags) => {
                let numbers: BTreeMap<_, _> = moved.iter().map(|it| (it.was, it.is)).collect();
                let tagged = tagged(tags)?.into_iter();
                tagged
                    .filter_map(|(pid, was)| Some((pid, *numbers.get(&was)?)))
                    .collect()
            }
            // Without tags, a process that has left the tree of the session's first
            // process is not found.
            None => moved.iter().flat_map(Moved::tree).collect(),
        };
        let mut new = 0;
        for (pid, number) in members {
            let tag = Tag::new(number, session::boot_ns());
            // A process that has ended meanwhile needs no tag.
            if let Ok(threads @ 1..) = self.core.kernel.tags().set_process(pid, tag) {
                new += threads;
                self.core.tracker.rejoin(number, pid);
            }
        }
        Ok(new)
    }

    /// Records as lost the events that the old programs wrote to rings without a
    /// reader.
    fn record_left_behind(&mut self, left: &proto::Checkpoint, previous: &Previous) {
        let placed = previous.placed();
        let came = [&left.delivered, &left.canaries, &left.crashed].map(|kept| counts(kept));
        let kinds: Vec<_> = Kind::ALL
            .iter()
            .map(|&kind| {
                let came = came.iter().map(|came: &[u64; KINDS]| came[kind as usize]);
                let count = placed[kind as usize].saturating_sub(came.sum());
                (kind.name(), count)
            })
            .collect();
        if let Some(loss) = loss(LossStage::Crash, kinds) {
            let record = self
                .core
                .tracker
                .stream_record(proto::record::Body::Loss(loss));
            self.core.store([record]);
        }
    }
}
