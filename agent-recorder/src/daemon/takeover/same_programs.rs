//! Takeover from a killed daemon whose kernel programs are still attached, and have
//! counted, enforced and emitted events in the meantime.
//!
//! There are three sources, in this order: the checkpoint, which was written after
//! each batch; the records after it, of a batch that was stored before the checkpoint
//! was written; and the rings, with everything since. An event that left the rings
//! and is in none of them is lost, and recorded as lost.
//!
//! Not here: reading those records (`checkpoint_tail`), and opening the checkpoint
//! and the programs (`left`).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use agent_recorder_abi::Pod as _;
use agent_recorder_abi::event::KINDS;
use agent_recorder_abi::exec_gate::Held;
use agent_recorder_abi::state::SessionNumber;

use super::checkpoint_tail::{catch_up, counts};
use super::returning::Returning;
use crate::bpf::Condemned;
use crate::daemon::core::tagged;
use crate::daemon::recorder::SETTLE;
use crate::daemon::self_check::CANARY;
use crate::daemon::{Error, Recorder};
use crate::fault;
use crate::guard::gate::Stopped;
use crate::record::{RecorderEvent, proto};
use crate::session::agents::RuleSet;

/// Rounds, and their whole time, in which the rings are emptied to find the events
/// that never arrived. A task that was preempted while it wrote an event runs again
/// within that time.
const ROUNDS: usize = 20;
const ROUNDS_WITHIN: Duration = Duration::from_secs(2);

impl Recorder {
    /// Takes over with the programs that were left.
    pub(super) fn go_on(
        &mut self,
        mut left: proto::Checkpoint,
        rules: &RuleSet,
    ) -> Result<(), Error> {
        let members = tagged(self.core.kernel.tags())?;
        let mut ended = catch_up(self.spool(), &mut left, &members)?;
        ended.extend(&left.ended);
        let held = self.restore(left);
        let waiting = self.held_among(&members);
        for (pid, number) in members {
            self.core.tracker.rejoin(number, pid);
        }
        let counted = self.core.kernel.counted_sessions()?;
        let given = counted.iter().map(|&(number, _)| number).max();
        self.core.skip_numbers(given.unwrap_or_default());
        self.returning = Some(Returning::new(rules.clone(), ended));
        let emptied = self.empty_rings();
        fault::point(fault::RINGS_EMPTIED);
        self.judge_left(held, waiting);
        let settled = emptied.and_then(|()| self.settle_sessions(&counted));
        self.returning = None;
        settled?;
        self.losses.record(&mut self.core)?;
        self.core.records.sync();
        Ok(())
    }

    /// Restores the state of the earlier recorder. Returns the programs that were
    /// held then.
    fn restore(&mut self, left: proto::Checkpoint) -> Vec<Held> {
        self.core.skip_numbers(left.next_session);
        self.self_check.go_on_from(counts(&left.canaries));
        self.losses.go_on_from(&left);
        for session in left.sessions {
            self.core.tracker.restore(session);
        }
        let sessions = self.sessions().live().len();
        self.core
            .record_event(RecorderEvent::GoesOn, &format!("{sessions} sessions"));
        left.held
            .iter()
            .filter_map(|bytes| Held::from_bytes(bytes))
            .collect()
    }

    /// The members that are held before their first instruction.
    fn held_among(&self, members: &[(u32, SessionNumber)]) -> Vec<(u32, SessionNumber)> {
        let tags = self.core.kernel.tags();
        let is_held = |(pid, _): &&(u32, _)| Stopped::held(tags, *pid).is_some();
        members.iter().filter(is_held).copied().collect()
    }

    /// Judges the programs that were held, and answers those whose event left its
    /// ring and is in no checkpoint.
    fn judge_left(&mut self, held: Vec<Held>, waiting: Vec<(u32, SessionNumber)>) {
        for held in held {
            self.exec_gate.judge(&mut self.core, held);
        }
        for (pid, number) in waiting {
            if !self.exec_gate.knows(pid) {
                self.exec_gate
                    .answer_unknown(&mut self.core, pid, number, None);
            }
        }
    }

    /// Carries all events in the rings, and finds those that left the rings without a
    /// record.
    fn empty_rings(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        let mut missing = [u64::MAX; KINDS];
        for _ in 0..ROUNDS {
            self.pass_gate()?;
            self.carry_all()?;
            // The counters are read after the rings: the difference is what is
            // missing, or still being written to a ring, where another round finds
            // it.
            let placed = self.core.kernel.placed()?;
            for (kind, placed) in placed.into_iter().enumerate() {
                let came = self.losses.delivered[kind] + self.self_check.events()[kind];
                missing[kind] = missing[kind].min(placed.saturating_sub(came));
            }
            let is_new = |(kind, count): (usize, &u64)| *count > self.losses.crashed[kind];
            if !missing.iter().enumerate().any(is_new) || begun.elapsed() > ROUNDS_WITHIN {
                break;
            }
            self.rings.wait(SETTLE)?;
        }
        for (crashed, missing) in self.losses.crashed.iter_mut().zip(missing) {
            *crashed = (*crashed).max(missing);
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

    /// Ends sessions that ended meanwhile, begins unknown ones, and ends those that
    /// the guard condemned. `counted` was read before the rings were emptied, so that
    /// the beginning of each session would have been in them.
    fn settle_sessions(&mut self, counted: &[(SessionNumber, Condemned)]) -> Result<(), Error> {
        for &(number, _) in counted {
            let is_known = self.sessions().get(number).is_some();
            if number != CANARY && !is_known && !self.begin_returning(number)? {
                self.core.kernel.end_session(number);
            }
        }
        self.forget_the_dead()?;
        self.end_empty()?;
        self.strike_condemned()
    }

    fn begin_returning(&mut self, number: SessionNumber) -> Result<bool, Error> {
        match &self.returning {
            Some(returning) => returning.begin(&mut self.core, number, None),
            None => Ok(false),
        }
    }

    /// Ends the sessions without a member.
    pub(super) fn end_empty(&mut self) -> Result<(), Error> {
        let sessions = self.core.tracker.registry.live();
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

    /// Enforces the kernel guard's verdicts again, because the killed daemon may not
    /// have swept those sessions.
    pub(super) fn strike_condemned(&mut self) -> Result<(), Error> {
        for (number, state) in self.core.kernel.counted_sessions()? {
            if self.core.tracker.registry.get(number).is_none() {
                continue;
            }
            match state {
                Condemned::No => {}
                Condemned::Frozen => {
                    self.core.freeze(number);
                }
                // Judged in its turn, by what the rings told of it.
                Condemned::Judged => self.judgements.take_over(number),
                Condemned::Killed => {
                    self.core.kill(number)?;
                }
            }
        }
        Ok(())
    }

    /// Removes members whose exit event was lost.
    fn forget_the_dead(&mut self) -> Result<(), Error> {
        let alive: HashSet<_> = tagged(self.core.kernel.tags())?.into_iter().collect();
        let sessions = self.core.tracker.registry.live();
        let dead: Vec<_> = sessions
            .into_iter()
            .flat_map(|session| {
                let number = session.number;
                session.live.iter().map(move |&pid| (pid, number))
            })
            .filter(|member| !alive.contains(member))
            .collect();
        // The exit of a process that ended a moment ago is in the rings now.
        self.carry_all()?;
        for (pid, number) in dead {
            self.core.tracker.leave(number, pid);
        }
        Ok(())
    }
}
