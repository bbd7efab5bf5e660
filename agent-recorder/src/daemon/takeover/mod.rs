//! The transition from one recorder to the next: the state at the beginning, the
//! state that is left at every moment, and the end.
//!
//! `left` is the state at the beginning, `handover` the state that is left;
//! `checkpoint` has the files, `checkpoint_tail` the records after them. Sessions
//! continue with the programs that another recorder left (`same_programs`), are moved
//! to new programs (`new_programs`), or begin for running agents (`adopt`).

pub(in crate::daemon) mod adopt;
pub(in crate::daemon) mod checkpoint;
pub(in crate::daemon) mod checkpoint_tail;
pub(in crate::daemon) mod handover;
pub(in crate::daemon) mod left;
mod new_programs;
pub(in crate::daemon) mod returning;
mod same_programs;

use std::time::{Duration, Instant};

use self::left::Left;
use super::{Error, Recorder};
use crate::fault;
use crate::record::{RecorderEvent, proto};
use crate::session::agents::RuleSet;

/// Longest time for which remaining events are carried before a recorder stops:
/// agents that continue without a daemon never cease to make events.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

impl Recorder {
    /// Takes over the sessions that ran before this recorder started: those of a
    /// killed daemon, and running agents.
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
        fault::point(fault::TAKEN_OVER);
        self.keep();
        Ok(())
    }

    /// Carries all events so far and makes their records durable. Running sessions
    /// are ended, with the programs, or left to the next recorder.
    ///
    /// # Errors
    ///
    /// As for [`Recorder::step`].
    pub fn finish(&mut self) -> Result<(), Error> {
        let leaves = self.handover.as_ref().is_some_and(|it| it.leaves);
        let finished = self.finish_records(leaves);
        match &mut self.handover {
            Some(handover) if !leaves => {
                let removed = handover.pins.remove();
                finished?;
                removed?;
                Ok(handover.clear()?)
            }
            _ => finished,
        }
    }

    fn finish_records(&mut self, leaves: bool) -> Result<(), Error> {
        if !leaves {
            self.pass_gate()?;
            self.exec_gate.close(&mut self.core);
        }
        // From here on the kernel programs end a session at its limit themselves.
        self.judgements.retire(&mut self.core)?;
        self.carry_the_rest()?;
        self.enforcement
            .conclude(&mut self.core, &mut self.judgements, u64::MAX)?;
        self.judgements.wake_all(&self.core);
        self.written_files.on_tick(&mut self.core, u64::MAX);
        self.losses.record(&mut self.core)?;
        if leaves {
            self.core
                .record_event(RecorderEvent::Stop, "its sessions go on");
        } else {
            self.end_all()?;
            self.core.record_event(RecorderEvent::Stop, "");
        }
        self.core.records.sync_at_end()?;
        self.keep();
        Ok(())
    }

    /// Carries events until none comes: an enforcement of the guard makes further
    /// events.
    fn carry_the_rest(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        while begun.elapsed() < FINISH_WITHIN {
            self.carry(true)?;
            if self.batch.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn end_all(&mut self) -> Result<(), Error> {
        let sessions = self.sessions().live();
        let running: Vec<_> = sessions.iter().map(|session| session.number).collect();
        for number in running {
            self.end(number, proto::EndReason::Detached)?;
        }
        Ok(())
    }
}
