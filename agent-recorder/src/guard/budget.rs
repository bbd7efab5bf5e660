//! The guard's budgets after a judgement: only what is lost counts.
//!
//! The kernel programs count each object at once (`guard::budget` there); the judge takes
//! back those that something holds. Both count alike, in steps.
//!
//! Not here: what is lost (`judge`), and what follows (the daemon).

use std::collections::VecDeque;

use agent_recorder_abi::limits::MAX_STEPS;
use agent_recorder_abi::policy::{Budget, GuardConfig, Policy};
use agent_recorder_abi::state::Session;

/// One object that a session has lost for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When it was counted, CLOCK_BOOTTIME ns.
    pub time: u64,
    /// Bytes that were counted.
    pub bytes: u64,
}

/// What a session has lost, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    known: VecDeque<Lost>,
}

/// Most losses of a session that are remembered: the largest long limit that a person
/// would set, with a margin. Earlier ones no longer count.
const MOST: usize = 65_536;

impl Losses {
    /// Adds the losses of a judgement.
    pub fn add(&mut self, lost: impl IntoIterator<Item = Lost>) {
        self.known.extend(lost);
        self.known.make_contiguous().sort_by_key(|lost| lost.time);
        let superfluous = self.known.len().saturating_sub(MOST);
        self.known.drain(..superfluous);
    }

    /// The limit that the losses meet at this time, if any.
    pub fn met(&self, config: &GuardConfig, now: u64) -> Option<Policy> {
        let within = |window: u64| {
            self.known
                .iter()
                .rev()
                .take_while(move |lost| now.saturating_sub(lost.time) <= window)
        };
        let is_met = |budget: &Budget, amount: &dyn Fn(&Lost) -> u64| {
            budget.steps != 0 && within(budget.window).map(amount).sum::<u64>() >= budget.limit()
        };
        let (files, bytes) = (|_: &Lost| 1, |lost: &Lost| lost.bytes);
        [
            (Policy::Files, is_met(&config.files, &files)),
            (Policy::FilesLong, is_met(&config.files_long, &files)),
            (Policy::Bytes, is_met(&config.bytes, &bytes)),
            (Policy::BytesLong, is_met(&config.bytes_long, &bytes)),
        ]
        .into_iter()
        .find_map(|(policy, is_met)| is_met.then_some(policy))
    }

    /// The kernel's counters of a session as if it had counted these losses only:
    /// `spared_files` and `spared_bytes` were counted as well, and are taken back.
    pub fn counters(
        &self,
        mut state: Session,
        spared_files: u64,
        spared_bytes: u64,
        config: &GuardConfig,
    ) -> Session {
        state.destroyed = state.destroyed.saturating_sub(spared_files);
        state.bytes = state.bytes.saturating_sub(spared_bytes);
        state.times = Session::NEW.times;
        state.steps = Session::NEW.steps;
        let limit = config.files.steps.min(state.times.len() as u64);
        if limit != 0 {
            let numbers = (0..state.destroyed).rev();
            for (number, lost) in numbers.zip(self.known.iter().rev()).take(index(limit)) {
                state.times[index(number % limit)] = lost.time;
            }
        }
        let [files_long, bytes, bytes_long] = &mut state.steps;
        self.fill(files_long, &config.files_long, state.destroyed, |_| 1);
        self.fill(bytes, &config.bytes, state.bytes, |lost| lost.bytes);
        self.fill(bytes_long, &config.bytes_long, state.bytes, |lost| {
            lost.bytes
        });
        state
    }

    /// Fills in the times at which the last steps of a budget began, where the whole sum
    /// of its amounts is `total`.
    fn fill(
        &self,
        times: &mut [u64; MAX_STEPS],
        budget: &Budget,
        total: u64,
        amount: impl Fn(&Lost) -> u64,
    ) {
        if budget.steps == 0 || budget.step == 0 {
            return;
        }
        let mut end = total;
        let mut filled = 0;
        for lost in self.known.iter().rev() {
            let begin = end.saturating_sub(amount(lost));
            let begun = begin.div_ceil(budget.step)..end.div_ceil(budget.step);
            for step in begun.rev() {
                if filled == budget.steps {
                    return;
                }
                if let Some(time) = times.get_mut(index(step % budget.steps)) {
                    *time = lost.time;
                }
                filled += 1;
            }
            end = begin;
        }
    }
}

/// A number below the length of an array.
fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use agent_recorder_abi::policy::GUARD_KILL;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn config() -> GuardConfig {
        let budget = |steps, step, window| Budget {
            steps,
            step,
            window,
        };
        GuardConfig {
            action: GUARD_KILL,
            files: budget(4, 1, 10 * SECOND),
            files_long: budget(2, 4, 3600 * SECOND),
            bytes: budget(2, 100, 10 * SECOND),
            bytes_long: Budget::NONE,
        }
    }

    fn losses(times: &[u64], bytes: u64) -> Losses {
        let mut losses = Losses::default();
        losses.add(times.iter().map(|&time| Lost { time, bytes }));
        losses
    }

    #[test]
    fn a_limit_is_met_by_what_is_lost_within_its_window() {
        let config = config();
        let now = 100 * SECOND;
        let recent = [95, 96, 97, 98].map(|second| second * SECOND);
        assert_eq!(losses(&recent[..3], 0).met(&config, now), None);
        assert_eq!(losses(&recent, 0).met(&config, now), Some(Policy::Files));
        assert_eq!(losses(&recent, 0).met(&config, now + 10 * SECOND), None);
        let many: Vec<_> = (0..8).map(|n| n * 11 * SECOND).collect();
        assert_eq!(losses(&many, 0).met(&config, now), Some(Policy::FilesLong));
        assert_eq!(
            losses(&recent[..2], 100).met(&config, now),
            Some(Policy::Bytes)
        );
    }

    #[test]
    fn counters_hold_the_losses_and_nothing_that_was_spared() {
        let state = Session {
            destroyed: 64,
            bytes: 640,
            times: [7; agent_recorder_abi::limits::MAX_LIMIT],
            steps: [[7; MAX_STEPS]; 3],
            ..Session::NEW
        };
        let counters = losses(&[1, 2, 3], 30).counters(state, 61, 550, &config());
        assert_eq!((counters.destroyed, counters.bytes), (3, 90));
        assert_eq!(counters.times[..5], [1, 2, 3, 0, 0]);
        // The first of four files began the long budget's only step.
        assert_eq!(counters.steps[0][..2], [1, 0]);
        // 90 bytes are within the first step of 100.
        assert_eq!(counters.steps[1][..2], [1, 0]);
    }

    #[test]
    fn without_losses_every_budget_begins_anew() {
        let state = Session {
            destroyed: 64,
            times: [7; agent_recorder_abi::limits::MAX_LIMIT],
            ..Session::NEW
        };
        let counters = Losses::default().counters(state, 64, 0, &config());
        assert_eq!(counters.destroyed, 0);
        assert_eq!(counters.times, Session::NEW.times);
    }

    #[test]
    fn the_newest_losses_stand_where_the_kernel_looks_for_them() {
        let state = Session {
            destroyed: 10,
            ..Session::NEW
        };
        let times = [1, 2, 3, 4, 5, 6];
        let counters = losses(&times, 0).counters(state, 0, 0, &config());
        // Files 6 to 9, at their numbers modulo 4.
        assert_eq!(counters.times[..4], [5, 6, 3, 4]);
        // The steps of four files began with files 4 and 8.
        assert_eq!(counters.steps[0][..2], [5, 1]);
    }
}
