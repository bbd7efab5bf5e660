//! Going on after an upgrade, or with another configuration of the kernel side:
//! the programs that were left are of another layout. New ones take their
//! place, and the sessions move over.
//!
//! The old programs stay until everybody is tagged anew: who forks meanwhile
//! has a child with their tag, which the next pass finds. What they made since
//! the daemon was killed is of another layout, too, and told as lost.
//!
//! Not here: programs of the same layout (`resume`).

use std::collections::{BTreeMap, BTreeSet};

use agent_recorder_abi::event::{KINDS, Kind};
use agent_recorder_abi::state::{SessionNumber, Tag};

use super::adopt::with_descendants;
use super::resume::counts;
use super::{Error, Recorder};
use crate::guard;
use crate::kernel::Previous;
use crate::record::proto;
use crate::session;

/// Passes over /proc: one that finds nobody new ends it.
const MAX_PASSES: usize = 20;

/// Those that the checkpoint was written of; others are of a recorder that was
/// killed while it took over.
fn of_checkpoint<'a>(previous: &'a [Previous], left: &proto::Checkpoint) -> Option<&'a Previous> {
    let mut previous = previous.iter();
    previous.find(|it| it.number() == Some(left.programs))
}

impl Recorder {
    /// Moves every session from the programs that were left to the new ones,
    /// and takes those away.
    pub(super) fn rebuild(
        &mut self,
        mut left: proto::Checkpoint,
        previous: Vec<Previous>,
    ) -> Result<(), Error> {
        self.catch_up(&mut left)?;
        let sessions = left.sessions.len();
        self.tell("recorder_rebuilds", &format!("{sessions} sessions"));
        let mut moved = Vec::new();
        for mut session in std::mem::take(&mut left.sessions) {
            self.next_session += 1;
            let was = session.number;
            session.number = self.next_session;
            match of_checkpoint(&previous, &left) {
                Some(previous) => self.kernel.move_session(session.number, previous, was)?,
                None => self.kernel.begin_session(session.number)?,
            }
            moved.push((was, session.number, session.root));
            self.tracker.restore(session);
        }
        for _ in 0..MAX_PASSES {
            if self.tag_anew(&previous, &moved) == 0 {
                break;
            }
        }
        self.tell_left_behind(&left, &previous);
        for previous in previous {
            previous.remove()?;
        }
        self.end_empty()?;
        self.strike_condemned()?;
        self.sync();
        Ok(())
    }

    /// Tags whoever is in one of the old sessions and in no new one. How many that were.
    fn tag_anew(
        &mut self,
        previous: &[Previous],
        moved: &[(SessionNumber, SessionNumber, u32)],
    ) -> usize {
        let numbers: BTreeMap<_, _> = moved.iter().map(|&(was, is, _)| (was, is)).collect();
        let mut members = BTreeSet::new();
        for tags in previous.iter().filter_map(Previous::tags) {
            let tagged = guard::tagged(tags).into_iter();
            members.extend(tagged.filter_map(|(pid, was)| Some((pid, *numbers.get(&was)?))));
        }
        if !previous.iter().any(|previous| previous.tags().is_some()) {
            // Who has left the tree of a session's first process is not found then.
            for &(_, number, root) in moved {
                let tree = with_descendants(root).into_iter();
                members.extend(tree.map(|pid| (pid, number)));
            }
        }
        let mut new = 0;
        for (pid, number) in members {
            let tag = Tag::new(number, session::boot_ns());
            // Gone meanwhile: nobody to tag.
            if let Ok(threads @ 1..) = self.kernel.tags().set_process(pid, tag) {
                new += threads;
                self.tracker.rejoin(number, pid);
            }
        }
        new
    }

    /// What the old programs put in rings that nobody reads.
    fn tell_left_behind(&mut self, left: &proto::Checkpoint, previous: &[Previous]) {
        let Some(placed) = of_checkpoint(previous, left).map(Previous::placed) else {
            return;
        };
        let came = [&left.delivered, &left.canaries, &left.crashed].map(|kept| counts(kept));
        let kinds: Vec<_> = Kind::ALL
            .iter()
            .map(|&kind| {
                let came = came.iter().map(|came: &[u64; KINDS]| came[kind as usize]);
                let count = placed[kind as usize].saturating_sub(came.sum());
                (kind.name(), count)
            })
            .collect();
        if let Some(loss) = super::loss::loss("crash", kinds) {
            let record = self.tracker.stream_record(proto::record::Body::Loss(loss));
            self.store([record]);
        }
    }
}
