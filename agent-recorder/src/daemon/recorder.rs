//! The loop: carries every batch from the rings through the stages, and calls each
//! stage at every turn.
//!
//! Not here: the beginning of a recorder (`start`), taking over and ending
//! (`takeover`), and operators' requests (`requests`).

use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use agent_recorder_abi::Pod as _;
use agent_recorder_abi::state::{SessionNumber, Tag};

use super::Error;
use super::core::Core;
use super::enforcement::Enforcement;
use super::exec_gate::{self, ExecGate};
use super::judgements::Judgements;
use super::losses::Losses;
use super::operators::Operators;
use super::self_check::{CANARY, SelfCheck};
use super::takeover::checkpoint::boot_id;
use super::takeover::handover::Handover;
use super::takeover::left::Left;
use super::takeover::returning::Returning;
use super::written_files::{Heir, Starter, WrittenFiles};
use crate::bpf::{Batch, Body, Rings, Started, decode};
use crate::control::Registered;
use crate::fault;
use crate::guard;
use crate::record::{RecorderEvent, SessionId, proto};
use crate::session::{self, Begin, Notice, authority};
use crate::spool::Spool;
use crate::stream;

/// Wait for events that were too young for the last batch.
pub(super) const SETTLE: Duration = Duration::from_millis(3);
/// Longest wait without an event, after which the counters are read.
const IDLE: Duration = Duration::from_millis(500);

/// One recorder.
#[derive(Debug)]
pub struct Recorder {
    pub(super) rings: Rings,
    pub(super) batch: Batch,
    pub(super) core: Core,
    pub(super) exec_gate: ExecGate,
    pub(super) written_files: WrittenFiles,
    pub(super) self_check: SelfCheck,
    pub(super) losses: Losses,
    pub(super) operators: Operators,
    pub(super) enforcement: Enforcement,
    pub(super) judgements: Judgements,
    /// The state for the next recorder; `None` where no recorder can take over.
    pub(super) handover: Option<Handover>,
    /// The state of the earlier recorder, until it is taken over.
    pub(super) left: Left,
    /// Present during the takeover.
    pub(super) returning: Option<Returning>,
}

impl Recorder {
    /// The spool's stream folder.
    pub fn spool(&self) -> &Spool {
        self.core.records.spool()
    }

    /// Progress that the stream reports to the collector.
    pub fn progress(&self) -> stream::Progress {
        stream::Progress {
            last: self.spool().durable(),
            lost: self.lost(),
        }
    }

    /// Records lost since the recorder started, for every cause.
    pub(super) fn lost(&self) -> u64 {
        self.losses.total(&self.core.records)
    }

    /// The sessions.
    pub fn sessions(&self) -> &session::Registry {
        &self.core.tracker.registry
    }

    /// Whether canaries show that records arrive; without canaries, that the recorder
    /// answers.
    pub fn is_proven(&self) -> bool {
        self.self_check.is_proven()
    }

    /// Replaces the state of the stream to the collector, which the status shows.
    pub fn show_flow(&mut self, flow: stream::Flow) {
        self.operators.show_flow(flow);
    }

    /// Records a declaration of the stream about its collector.
    pub fn declare(&mut self, declaration: &stream::Declaration) {
        self.core
            .record_event(declaration.event, &declaration.detail);
    }

    /// Has [`Recorder::step`] return when this descriptor is readable.
    ///
    /// # Errors
    ///
    /// epoll_ctl(2) refuses.
    pub fn watch(&self, other: BorrowedFd<'_>) -> Result<(), Error> {
        Ok(self.rings.watch(other)?)
    }

    /// Puts a process that has not called exec yet into a new session. A member of a
    /// session stays in that one: the acts of a process are those of one session.
    ///
    /// # Errors
    ///
    /// The process has ended, or the kernel's map of sessions is full.
    pub fn register(&mut self, pid: u32, agent: &str, name: &str) -> Result<Registered, Error> {
        let present = guard::session_of(self.core.kernel.tags(), pid);
        let present = present.and_then(|number| self.core.tracker.registry.get(number));
        if let Some(session) = present {
            return Ok(Registered {
                session: session.id,
                joined: true,
            });
        }
        let number = self.core.new_number();
        let id = self.core.begin_session(Begin {
            number,
            agent: agent.to_owned(),
            rule: "run".to_owned(),
            name: name.to_owned(),
            origin: proto::Origin::Run,
            root: pid,
            authority: authority::of_process(pid),
        })?;
        let tag = Tag::new(number, session::boot_ns());
        self.core.kernel.tags().set_process(pid, tag)?;
        self.keep();
        Ok(Registered {
            session: id,
            joined: false,
        })
    }

    /// Waits for events, and carries them. True when the watched descriptor is readable.
    ///
    /// # Errors
    ///
    /// The rings, the maps or the spool fail.
    pub fn step(&mut self) -> Result<bool, Error> {
        let woken = self.rings.wait(self.wait())?;
        self.pass_gate()?;
        let carried = session::boot_ns();
        while self.carry(false)? {}
        self.on_tick(carried)?;
        Ok(woken.other)
    }

    /// How long the recorder has nothing to do without an event.
    fn wait(&self) -> Duration {
        let wait = self.core.records.until_sync().unwrap_or(IDLE);
        let is_pressing = self.batch.holds_back()
            || self.exec_gate.is_pressing()
            || self.written_files.is_pressing()
            || self.self_check.is_pressing()
            || self.judgements.is_pressing();
        if is_pressing { SETTLE.min(wait) } else { wait }
    }

    /// Gives each stage its turn. Events are carried until `carried`, ns.
    fn on_tick(&mut self, carried: u64) -> Result<(), Error> {
        let core = &mut self.core;
        self.exec_gate.on_tick(core, carried);
        self.written_files.on_tick(core, carried);
        self.losses.record(core)?;
        // The canary follows the losses: where there are any, it proves nothing.
        let lost = self.losses.total(&core.records);
        if self.self_check.on_tick(core, carried, lost) {
            self.mend()?;
        }
        let gate = &mut self.exec_gate.gate;
        self.enforcement.on_tick(&mut self.core, gate)?;
        self.judgements.on_tick(&mut self.core)?;
        self.enforcement
            .conclude(&mut self.core, &mut self.judgements, carried)?;
        self.core.records.on_tick();
        if self.core.is_unkept {
            self.keep();
        }
        Ok(())
    }

    /// Attaches the programs anew. A refusal of the kernel is recorded, and the next
    /// canary tries again: a recorder that ended here would record nothing at all.
    fn mend(&mut self) -> Result<(), Error> {
        match self.core.kernel.mend() {
            Ok(()) => self.core.record_event(RecorderEvent::HooksAttachedAnew, ""),
            Err(why) => self
                .core
                .record_event(RecorderEvent::HooksNotAttached, &why.to_string()),
        }
        let gate = &mut self.exec_gate.gate;
        self.enforcement.refresh(&mut self.core, gate)
    }

    /// Hands every started program that needs an immediate decision to its stage.
    ///
    /// # Errors
    ///
    /// The kernel's maps cannot be read or written.
    pub(super) fn pass_gate(&mut self) -> Result<(), Error> {
        for started in self.rings.started() {
            match started {
                Started::Held(held) => self.exec_gate.judge(&mut self.core, held),
                Started::Heir(event) => self.meet_heir(&event)?,
            }
        }
        Ok(())
    }

    /// Examines a process that may have started a file which a session wrote, by the
    /// event of its exec.
    fn meet_heir(&mut self, event: &[u8]) -> Result<(), Error> {
        if self.written_files.is_off() {
            return Ok(());
        }
        let Some(starter) = Starter::decode(event) else {
            self.losses.damaged += 1;
            return Ok(());
        };
        let Some(heir) = self.written_files.heir(&self.core, starter)? else {
            return Ok(());
        };
        let joined = if self.written_files.are_joining() {
            self.join(&heir)?
        } else {
            None
        };
        self.written_files.met(&mut self.core, heir, joined);
        Ok(())
    }

    /// Puts an heir and its descendants into the writer's session, or into a new one
    /// where that has ended. `None` when the heir has ended.
    fn join(&mut self, heir: &Heir) -> Result<Option<SessionId>, Error> {
        if !heir.is_there() {
            return Ok(None);
        }
        let live = self.sessions().get(heir.writer());
        if let Some(id) = live.map(|session| session.id) {
            let joined = heir.join(&mut self.core, heir.writer());
            return Ok(joined.then_some(id));
        }
        let (number, id) = heir.begin_session(&mut self.core)?;
        // The session's first record names no process, so a later recorder finds it
        // by the checkpoint only.
        self.keep();
        let joined = heir.join(&mut self.core, number);
        if !joined {
            self.core.tracker.leave(number, heir.pid());
            self.end(number, proto::EndReason::Exited)?;
        }
        Ok(joined.then_some(id))
    }

    /// Carries one batch from the rings to the spool. True when more events are left.
    /// `last`: also carries the events that are too young, for none comes after them.
    pub(super) fn carry(&mut self, last: bool) -> Result<bool, Error> {
        let more = self.rings.drain(&mut self.batch, last);
        if self.batch.is_empty() {
            return Ok(more);
        }
        fault::point(fault::EVENTS_READ);
        self.core.is_unkept = true;
        if let Some(jump) = self.core.tracker.begin_batch() {
            self.core
                .record_event(RecorderEvent::ClockJump, &jump.to_string());
        }
        if let Some(returning) = &self.returning {
            returning.begin_unknown(&mut self.core, &self.batch)?;
        }
        let notices = self.absorb();
        self.written_files.on_batch(&mut self.core)?;
        for notice in notices {
            self.heed(notice)?;
        }
        Ok(more)
    }

    /// Stores the records of a batch. Returns the actions that follow from it.
    fn absorb(&mut self) -> Vec<Notice> {
        let (mut records, mut notices) = (Vec::new(), Vec::new());
        let mut unstopped = Vec::new();
        for bytes in self.batch.iter() {
            let Ok(event) = decode(bytes) else {
                self.losses.damaged += 1;
                continue;
            };
            if event.header.session == CANARY {
                self.self_check.see(&event);
                continue;
            }
            self.losses.count_delivered(event.header.kind);
            if let Body::Counted(counted) = &event.body {
                self.judgements.note(&event.header, counted);
            }
            if let Body::Exec {
                body, exe, argv, ..
            } = &event.body
                && body.error == 0
            {
                unstopped.extend(self.exec_gate.judge_unstopped(&event.header, exe, argv));
            }
            let made = records.len();
            self.core.tracker.absorb(&event, &mut records, &mut notices);
            self.judgements
                .note_records(event.header.session, &records[made..]);
        }
        self.core.store(records);
        for (header, program) in unstopped {
            exec_gate::record_unstopped(&mut self.core, &header, program);
        }
        notices
    }

    fn heed(&mut self, notice: Notice) -> Result<(), Error> {
        match notice {
            Notice::Limit(header, body) if body.judged != 0 => {
                self.judgements.begin(&header, body);
                Ok(())
            }
            Notice::Limit(header, body) => {
                self.enforcement.on_limit(&mut self.core, &header, body);
                Ok(())
            }
            // During a takeover, further processes of the session may still turn up.
            Notice::Empty(_) if self.returning.is_some() => Ok(()),
            Notice::Empty(number) => self.end(number, proto::EndReason::Exited),
        }
    }

    /// Ends a session: writes its last record, and has every stage forget it.
    pub(super) fn end(
        &mut self,
        number: SessionNumber,
        reason: proto::EndReason,
    ) -> Result<(), Error> {
        let core = &mut self.core;
        self.losses.record(core)?;
        self.exec_gate.on_session_end(core, number);
        self.judgements.on_session_end(number);
        let session = core.tracker.registry.get(number);
        let id = session.map(|session| session.id);
        // A session that the kernel had no room to count has no counter.
        let counted = core.kernel.destroyed(number).unwrap_or_default();
        let mut counters = core.kernel.counters()?;
        self.self_check.leave_out(&mut counters.produced);
        let totals = self.losses.totals(&counters, counted);
        let records = core.tracker.end_session(number, reason, totals);
        core.store(records);
        // The record is durable before the counters go: a later recorder reads both.
        core.records.sync();
        fault::point(fault::SESSION_ENDED);
        core.kernel.end_session(number);
        core.is_unkept = true;
        if let Some(id) = id {
            let lost = self.losses.total(&core.records);
            self.operators.on_session_end(core, lost, id);
        }
        Ok(())
    }

    /// Writes the checkpoint for the next recorder. If the disk refuses it, the last
    /// checkpoint stays, and the next recorder reads more records after it.
    pub(super) fn keep(&mut self) {
        if self.handover.is_none() {
            return;
        }
        self.core.is_unkept = true;
        if !self.core.records.flush() {
            return;
        }
        let checkpoint = self.checkpoint();
        let Some(handover) = &mut self.handover else {
            return;
        };
        let kept = handover.keep(checkpoint);
        fault::point(fault::CHECKPOINT_KEPT);
        self.core.is_unkept = kept.is_err();
        if let Err(Some(news)) = kept {
            self.core
                .record_event(RecorderEvent::CheckpointFailed, &news);
        }
    }

    fn checkpoint(&self) -> proto::Checkpoint {
        let recorded = self.losses.recorded();
        let unrecorded = self.core.tracker.unrecorded();
        let delivered = self.losses.delivered.iter().zip(unrecorded);
        let pins = self.handover.as_ref().map(Handover::directory);
        let held = self.exec_gate.waiting();
        proto::Checkpoint {
            generation: 0,
            boot_id: boot_id(),
            programs: self.core.kernel.number(),
            stream_id: self.spool().stream_id().to_bytes(),
            seq: self.spool().last_seq().0,
            next_session: self.core.last_number(),
            delivered: delivered
                .map(|(all, unrecorded)| all.saturating_sub(unrecorded))
                .collect(),
            canaries: self.self_check.events().to_vec(),
            crashed: self.losses.crashed.to_vec(),
            recorded_lost: recorded.lost.to_vec(),
            recorded_troubles: recorded.troubles.to_vec(),
            recorded_skipped: recorded.skipped,
            held: held.map(|held| held.bytes().to_vec()).collect(),
            sessions: self.core.tracker.snapshots(),
            ended: self.sessions().ended().map(|it| it.number).collect(),
            pins: pins
                .map(|it| it.as_os_str().as_bytes().to_vec())
                .unwrap_or_default(),
        }
    }
}
