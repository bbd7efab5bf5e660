//! Going on where a daemon before this one was killed: its kernel programs are
//! still at their hooks, and have counted, struck and told all the while.
//!
//! Three sources, in this order: the checkpoint, which was written after each
//! batch; the records behind it, of a batch that was stored and not yet taken
//! into it; and the rings, with all that happened since. What left the rings
//! and is in none of them is lost, and told as lost.
//!
//! Not here: what those records say (`checkpoint_tail`), and how such a checkpoint and such programs come about (`takeover`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use agent_recorder_abi::Pod as _;
use agent_recorder_abi::event::KINDS;
use agent_recorder_abi::exec_gate::Held;
use agent_recorder_abi::state::SessionNumber;

use super::adopt::match_process;
use super::checkpoint_tail::{catch_up, counts};
use crate::bpf::{self, Condemned, decode};
use crate::daemon::self_check::CANARY;
use crate::daemon::{Error, Recorder, SETTLE, tagged};
use crate::fault;
use crate::guard::gate::Stopped;
use crate::record::{RecorderEvent, proto};
use crate::session::agents::RuleSet;
use crate::session::{Begin, authority};

/// So often, and so long, the rings are emptied to see what of a kind never came
/// out of them: with a wait between, somebody who makes an event is off the CPU for less.
const ROUNDS: usize = 20;
const ROUNDS_WITHIN: Duration = Duration::from_secs(2);

impl Recorder {
    /// Takes over, with the programs that were left.
    pub(in crate::daemon) fn go_on(
        &mut self,
        mut left: proto::Checkpoint,
        rules: &RuleSet,
    ) -> Result<(), Error> {
        let members = tagged(self.kernel.tags())?;
        let mut ended = catch_up(&self.spool, &mut left, &members)?;
        ended.extend(&left.ended);
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
        self.tell(RecorderEvent::GoesOn, &format!("{sessions} sessions"));
        let waiting: Vec<_> = members
            .iter()
            .filter(|(pid, _)| Stopped::held(self.kernel.tags(), *pid).is_some())
            .copied()
            .collect();
        for (pid, number) in members {
            self.tracker.rejoin(number, pid);
        }
        let counted = self.kernel.counted_sessions()?;
        let given = counted.iter().map(|&(number, _)| number).max();
        self.next_session = self.next_session.max(given.unwrap_or_default());
        self.returning = Some(Returning {
            rules: rules.clone(),
            ended,
        });
        let emptied = self.empty_rings();
        fault::point(fault::RINGS_EMPTIED);
        for held in held {
            self.judge(held);
        }
        // Taken out of their ring, and in no checkpoint.
        for (pid, number) in waiting {
            if !self.holds.knows(pid) {
                self.answer_unknown(pid, number, None);
            }
        }
        let settled = emptied.and_then(|()| self.settle_sessions(&counted));
        self.returning = None;
        settled?;
        self.tell_losses()?;
        self.sync();
        Ok(())
    }

    /// Carries all that the rings hold, and finds out what left them and went nowhere.
    fn empty_rings(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        let mut missing = [u64::MAX; KINDS];
        for _ in 0..ROUNDS {
            self.pass_gate()?;
            self.carry_all()?;
            // Read behind them, it counts all that came: what is missing, and
            // what is on its way into a ring, which another round finds there.
            let placed = self.kernel.placed()?;
            for (kind, placed) in placed.into_iter().enumerate() {
                let came = self.delivered[kind] + self.watch.events()[kind];
                missing[kind] = missing[kind].min(placed.saturating_sub(came));
            }
            let is_new = |(kind, count): (usize, &u64)| *count > self.loss.crashed[kind];
            if !missing.iter().enumerate().any(is_new) || begun.elapsed() > ROUNDS_WITHIN {
                break;
            }
            self.rings.wait(SETTLE)?;
        }
        for (crashed, missing) in self.loss.crashed.iter_mut().zip(missing) {
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

    /// Begins the sessions of a batch whose own beginning was lost.
    pub(in crate::daemon) fn find_in_batch(&mut self) -> Result<(), Error> {
        let Some(returning) = &self.returning else {
            return Ok(());
        };
        let events = || self.batch.iter().filter_map(|bytes| decode(bytes).ok());
        let begun: HashSet<_> = events()
            .filter(|event| matches!(event.body, bpf::Body::Session(_)))
            .map(|event| event.header.session)
            .collect();
        let mut unknown = BTreeMap::new();
        for header in events().map(|event| event.header) {
            let number = header.session;
            let is_known = number == CANARY
                || begun.contains(&number)
                || returning.ended.contains(&number)
                || self.tracker.registry.get(number).is_some();
            if !is_known {
                unknown.entry(number).or_insert(header.pid);
            }
        }
        for (number, pid) in unknown {
            self.find(number, Some(pid))?;
        }
        Ok(())
    }

    /// A session that the kernel knows, and nobody else. `pid`: a process that
    /// was in it; false when none is and nothing is begun.
    fn find(&mut self, number: SessionNumber, pid: Option<u32>) -> Result<bool, Error> {
        let Some(returning) = &self.returning else {
            return Ok(false);
        };
        let members: BTreeSet<u32> = tagged(self.kernel.tags())?
            .into_iter()
            .filter_map(|(pid, of)| (of == number).then_some(pid))
            .collect();
        // By their numbers: most often the first is the oldest.
        let Some(root) = members.first().copied().or(pid) else {
            return Ok(false);
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
        Ok(true)
    }

    /// Ends what ended meanwhile, begins what nobody knows of, and goes on with
    /// ending what the guard condemned. `counted`: before the rings were emptied,
    /// so that the beginning of each would have been in them.
    fn settle_sessions(&mut self, counted: &[(SessionNumber, Condemned)]) -> Result<(), Error> {
        for &(number, _) in counted {
            let is_known = self.tracker.registry.get(number).is_some();
            if number != CANARY && !is_known && !self.find(number, None)? {
                self.kernel.end_session(number);
            }
        }
        self.forget_the_dead()?;
        self.end_empty()?;
        self.strike_condemned()
    }

    pub(in crate::daemon) fn end_empty(&mut self) -> Result<(), Error> {
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
    pub(in crate::daemon) fn strike_condemned(&mut self) -> Result<(), Error> {
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
        let alive: HashSet<_> = tagged(self.kernel.tags())?.into_iter().collect();
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
pub(in crate::daemon) struct Returning {
    rules: RuleSet,
    /// Sessions that ended; their kernel's part may still be there.
    ended: HashSet<SessionNumber>,
}
