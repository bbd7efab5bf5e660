//! Going on where a daemon before this one was killed: its kernel programs are
//! still at their hooks, and have counted, struck and told all the while.
//!
//! Three sources, in this order: the checkpoint, which was written after each
//! batch; the records behind it, of a batch that was stored and not yet taken
//! into it; and the rings, with all that happened since. What left the rings
//! and is in none of them is lost, and told as lost.
//!
//! Not here: where a checkpoint lies (`checkpoint`), and pins (`kernel`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};

use agent_recorder_abi::Pod as _;
use agent_recorder_abi::held::Held;
use agent_recorder_abi::state::SessionNumber;

use super::adopt::match_process;
use super::checkpoint::Keeper;
use super::watch::CANARY;
use super::{Error, Recorder};
use crate::guard;
use crate::kernel::{self, Body, Condemned, Kernel, Pins, Previous, Rings, decode};
use crate::record::{Seq, proto};
use crate::session::agents::RuleSet;
use crate::session::{Begin, authority};
use crate::spool::{Item, Store};

/// Where a recorder can be taken over from.
#[derive(Debug)]
pub(super) struct Continuity {
    pins: Pins,
    keeper: Keeper,
    /// Whether it was told that nothing can be kept.
    failed: bool,
}

impl Continuity {
    /// Takes everything away that was to outlive this process.
    pub(super) fn give_up(&self) -> Result<(), Error> {
        Ok(self.pins.remove()?)
    }
}

/// Of a recorder that was killed.
#[derive(Debug, Default)]
pub(super) enum Left {
    /// Nothing.
    #[default]
    Nothing,
    /// Its programs, which are in use.
    Programs(proto::Checkpoint),
    /// Programs of another layout.
    Others(proto::Checkpoint, Vec<Previous>),
}

/// What a recorder begins with.
pub(super) struct Beginning {
    pub(super) kernel: Kernel,
    pub(super) rings: Rings,
    pub(super) continuity: Option<Continuity>,
    /// What the recorder before left.
    pub(super) left: Left,
    /// What is to be told of all that.
    pub(super) told: Vec<(&'static str, String)>,
}

/// The kernel's side: what was left of it, or anew. `pins`: where it is left; empty: nowhere.
pub(super) fn begin(
    options: &kernel::Options,
    pins: &Path,
    state: &Path,
) -> Result<Beginning, Error> {
    let mut told = Vec::new();
    let mut found = None;
    if !pins.as_os_str().is_empty() {
        match find(pins, state) {
            Ok(it) => found = Some(it),
            Err(why) => told.push(("not_pinned", why.to_string())),
        }
    }
    let Some((pins, keeper, checkpoint)) = found else {
        let (kernel, rings) = Kernel::load(options, None)?;
        return Ok(Beginning {
            kernel,
            rings,
            continuity: None,
            left: Left::Nothing,
            told,
        });
    };
    let programs = checkpoint.as_ref().map(|checkpoint| checkpoint.programs);
    let resumed = match Kernel::resume(options, &pins) {
        _ if checkpoint.is_none() => None,
        Ok(Some((kernel, _))) if programs != Some(kernel.number()) => {
            told.push(("pins_unusable", "of another checkpoint".to_owned()));
            None
        }
        Ok(resumed) => resumed,
        Err(why) => {
            told.push(("pins_unusable", why.to_string()));
            None
        }
    };
    let continuity = Continuity {
        pins,
        keeper,
        failed: false,
    };
    if let Some((kernel, rings)) = resumed {
        return Ok(Beginning {
            kernel,
            rings,
            continuity: Some(continuity),
            left: checkpoint.map_or(Left::Nothing, Left::Programs),
            told,
        });
    }
    let previous = Previous::find(&continuity.pins)?;
    let (kernel, rings) = Kernel::load(options, Some(&continuity.pins))?;
    let left = match checkpoint {
        Some(checkpoint) if !previous.is_empty() => Left::Others(checkpoint, previous),
        _ => {
            // Nobody knows whose they are.
            for previous in previous {
                previous.remove()?;
            }
            Left::Nothing
        }
    };
    Ok(Beginning {
        kernel,
        rings,
        continuity: Some(continuity),
        left,
        told,
    })
}

fn find(
    pins: &Path,
    state: &Path,
) -> Result<(Pins, Keeper, Option<proto::Checkpoint>), kernel::Error> {
    let pins = Pins::new(pins, state)?;
    let (keeper, checkpoint) = Keeper::open(state).map_err(|source| kernel::Error::System {
        what: "opening the checkpoint in the state directory",
        source,
    })?;
    Ok((pins, keeper, checkpoint))
}

/// So often, and so long, the rings are emptied to see what of a kind never came out of them.
const ROUNDS: usize = 8;
const ROUNDS_WITHIN: Duration = Duration::from_secs(2);

impl Recorder {
    /// Finds the sessions that ran before this recorder did: those of a daemon
    /// that was killed, and running agents.
    ///
    /// # Errors
    ///
    /// The kernel's maps or the spool fail.
    pub fn take_over(&mut self, rules: &RuleSet) -> Result<(), Error> {
        match std::mem::take(&mut self.left) {
            Left::Nothing => {}
            Left::Programs(left) => self.go_on(left, rules)?,
            Left::Others(left, previous) => self.rebuild(left, previous)?,
        }
        self.adopt(rules)?;
        self.keep();
        Ok(())
    }

    /// Writes down what the next recorder is to know.
    pub(super) fn keep(&mut self) {
        let checkpoint = self.checkpoint();
        let Some(continuity) = &mut self.continuity else {
            return;
        };
        let kept = continuity.keeper.keep(checkpoint);
        let failed = kept.is_err();
        if let Err(why) = kept
            && !continuity.failed
        {
            self.tell("checkpoint_failed", &why.to_string());
        }
        if let Some(continuity) = &mut self.continuity {
            continuity.failed = failed;
        }
    }

    fn checkpoint(&self) -> proto::Checkpoint {
        let told = &self.loss.told;
        proto::Checkpoint {
            generation: 0,
            programs: self.kernel.number(),
            stream_id: self.spool.stream_id().to_bytes(),
            seq: self.spool.last_seq().0,
            next_session: self.next_session,
            delivered: self.delivered.to_vec(),
            canaries: self.watch.events().to_vec(),
            crashed: self.loss.crashed.to_vec(),
            told_lost: told.lost.to_vec(),
            told_troubles: told.troubles.to_vec(),
            told_skipped: told.skipped,
            held: self
                .holds
                .waiting()
                .map(|held| held.bytes().to_vec())
                .collect(),
            sessions: self.tracker.kept(),
        }
    }

    fn go_on(&mut self, mut left: proto::Checkpoint, rules: &RuleSet) -> Result<(), Error> {
        let ended = self.catch_up(&mut left)?;
        let held: Vec<Held> = left
            .held
            .iter()
            .filter_map(|bytes| Held::from_bytes(bytes))
            .collect();
        self.next_session = self.next_session.max(left.next_session);
        self.delivered = counts(&left.delivered);
        self.watch.go_on_from(counts(&left.canaries));
        self.loss.go_on_from(&left);
        for session in left.sessions {
            self.tracker.restore(session);
        }
        let sessions = self.tracker.registry.live().len();
        self.tell("recorder_goes_on", &format!("{sessions} sessions"));
        for (pid, number) in guard::tagged(self.kernel.tags()) {
            self.tracker.rejoin(number, pid);
        }
        self.returning = Some(Returning {
            rules: rules.clone(),
            ended,
        });
        let emptied = self.empty_rings();
        for held in held {
            self.judge(held);
        }
        let settled = emptied.and_then(|()| self.settle_sessions());
        self.returning = None;
        settled?;
        self.tell_losses()?;
        self.sync();
        Ok(())
    }

    /// Takes in the records that are behind the checkpoint. The sessions that ended in them.
    pub(super) fn catch_up(
        &mut self,
        left: &mut proto::Checkpoint,
    ) -> Result<HashSet<SessionNumber>, Error> {
        let mut ended = HashSet::new();
        let stream = self.spool.stream_id();
        let is_behind = left.stream_id == stream.to_bytes() && left.seq < self.spool.last_seq().0;
        let Some(directory) = self.spool.dir().parent().filter(|_| is_behind) else {
            return Ok(ended);
        };
        let mut cursor = Store::open(directory)?.cursor(stream)?;
        cursor.seek(Seq(left.seq).next())?;
        while let Some(item) = cursor.next()? {
            if let Item::Record { record, .. } = item {
                ended.extend(take_in(&record, left));
            }
        }
        left.sessions
            .retain(|session| !ended.contains(&session.number));
        Ok(ended)
    }

    /// Carries all that the rings hold, and finds out what left them and went nowhere.
    fn empty_rings(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let placed = self.kernel.placed()?;
            self.pass_gate()?;
            self.carry_all()?;
            let mut grew = false;
            for (kind, placed) in placed.into_iter().enumerate() {
                let came = self.delivered[kind] + self.watch.events()[kind];
                let missing = placed.saturating_sub(came);
                // Less than there is, where events are made meanwhile: then the next round finds more.
                grew |= missing > self.loss.crashed[kind];
                self.loss.crashed[kind] = self.loss.crashed[kind].max(missing);
            }
            if !grew || begun.elapsed() > ROUNDS_WITHIN {
                break;
            }
        }
        Ok(())
    }

    fn carry_all(&mut self) -> Result<(), Error> {
        loop {
            let more = self.carry(true)?;
            if self.batch.is_empty() && !more {
                return Ok(());
            }
        }
    }

    /// Begins the sessions of a batch whose own beginning was lost.
    pub(super) fn find_in_batch(&mut self) -> Result<(), Error> {
        let Some(returning) = &self.returning else {
            return Ok(());
        };
        let mut begun = HashSet::from([CANARY]);
        let mut unknown = BTreeMap::new();
        for event in self.batch.iter().filter_map(|bytes| decode(bytes).ok()) {
            let number = event.header.session;
            if matches!(event.body, Body::Session(_)) {
                begun.insert(number);
            } else if !begun.contains(&number)
                && !returning.ended.contains(&number)
                && self.tracker.registry.get(number).is_none()
            {
                unknown.entry(number).or_insert(event.header.pid);
            }
        }
        for (number, pid) in unknown {
            self.find(number, Some(pid));
        }
        Ok(())
    }

    /// A session that the kernel knows, and nobody else. `pid`: a process that
    /// was in it; false when none is and nothing is begun.
    fn find(&mut self, number: SessionNumber, pid: Option<u32>) -> bool {
        let Some(returning) = &self.returning else {
            return false;
        };
        let tagged = guard::tagged(self.kernel.tags());
        let members: BTreeSet<u32> = tagged
            .into_iter()
            .filter_map(|(pid, of)| (of == number).then_some(pid))
            .collect();
        // By their numbers: most often the first is the oldest.
        let Some(root) = members.first().copied().or(pid) else {
            return false;
        };
        let names = returning.rules.names();
        let rule = members
            .iter()
            .find_map(|&pid| match_process(&returning.rules, pid))
            .and_then(|rule| names.get((rule as usize).checked_sub(1)?));
        let (agent, rule) = rule.map_or_else(
            || ("unknown".to_owned(), "unknown".to_owned()),
            |rule| (rule.agent.clone(), rule.rule.clone()),
        );
        self.tracker.begin_session(Begin {
            number,
            agent,
            rule,
            name: String::new(),
            origin: proto::Origin::Adopted,
            root,
            authority: authority::of_process(root),
        });
        for pid in members {
            self.tracker.join(number, pid);
        }
        true
    }

    /// Ends what ended meanwhile, begins what nobody knows of, and goes on with
    /// ending what the guard condemned.
    fn settle_sessions(&mut self) -> Result<(), Error> {
        for (number, _) in self.kernel.counted_sessions()? {
            let is_known = self.tracker.registry.get(number).is_some();
            if number != CANARY && !is_known && !self.find(number, None) {
                self.kernel.end_session(number);
            }
        }
        self.forget_the_dead()?;
        self.end_empty()?;
        self.strike_condemned()
    }

    pub(super) fn end_empty(&mut self) -> Result<(), Error> {
        let sessions = self.tracker.registry.live();
        let empty: Vec<_> = sessions
            .into_iter()
            .filter(|session| session.live.is_empty())
            .map(|session| session.number)
            .collect();
        for number in empty {
            self.end(number, proto::EndReason::Exited)?;
        }
        Ok(())
    }

    /// The guard in the kernel met them; perhaps nobody swept them.
    pub(super) fn strike_condemned(&mut self) -> Result<(), Error> {
        for (number, state) in self.kernel.counted_sessions()? {
            if self.tracker.registry.get(number).is_none() {
                continue;
            }
            match state {
                Condemned::No => {}
                Condemned::Frozen => {
                    self.freeze(number);
                }
                Condemned::Killed => {
                    self.kill(number)?;
                }
            }
        }
        Ok(())
    }

    /// Processes whose end was lost.
    fn forget_the_dead(&mut self) -> Result<(), Error> {
        let alive: HashSet<_> = guard::tagged(self.kernel.tags()).into_iter().collect();
        let sessions = self.tracker.registry.live();
        let dead: Vec<_> = sessions
            .into_iter()
            .flat_map(|session| {
                let number = session.number;
                session.live.iter().map(move |&pid| (pid, number))
            })
            .filter(|member| !alive.contains(member))
            .collect();
        // Who ended a moment ago is told of in the rings now.
        self.carry_all()?;
        for (pid, number) in dead {
            self.tracker.leave(number, pid);
        }
        Ok(())
    }
}

/// While a recorder takes over.
#[derive(Debug)]
pub(super) struct Returning {
    rules: RuleSet,
    /// Sessions that ended; their kernel's part may still be there.
    ended: HashSet<SessionNumber>,
}

/// Adds a record to what is known; the session that it ends.
fn take_in(record: &proto::Record, left: &mut proto::Checkpoint) -> Option<SessionNumber> {
    let mut sessions = left.sessions.iter_mut();
    let session = sessions.find(|session| session.session_id == record.session_id)?;
    session.records += 1;
    match record.body.as_ref()? {
        proto::record::Body::SessionStart(_) => session.start = None,
        proto::record::Body::SessionEnd(_) => return Some(session.number),
        proto::record::Body::Fork(_) => session.processes += 1,
        proto::record::Body::Exec(exec) if exec.error == 0 => session.execs += 1,
        proto::record::Body::File(file)
            if file.op() == proto::FileOp::Delete && file.error == 0 =>
        {
            session.files_destroyed += 1;
        }
        _ => {}
    }
    None
}

/// Of a kernel with other kinds, those that both know.
pub(super) fn counts<const COUNT: usize>(kept: &[u64]) -> [u64; COUNT] {
    std::array::from_fn(|index| kept.get(index).copied().unwrap_or(0))
}
