//! The recorder: one thread that carries events from the rings through
//! session and guard into the spool.
//!
//! Not here: what any room decides. This is the corridor between them.

mod exec_gate;
mod losses;
mod operators;
mod self_check;
mod takeover;
mod written_files;

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_recorder_abi::event::{GuardBody, Header, KINDS};
use agent_recorder_abi::policy::{GUARD_FREEZE, PROGRAM_RESTORES, Policy};
use agent_recorder_abi::state::{SessionNumber, Tag, USER_SESSION};

use crate::bpf::{self, Batch, Kernel, Rings, decode};
use crate::fault;
use crate::guard;
use crate::record::{RecorderEvent, SessionId, proto};
use crate::session::handoff::HandOffs;
use crate::session::tamper::Own;
use crate::session::{self, Begin, Derivation, Notice, RuleName, Tracker, authority};
use crate::spool::{self, Spool};
use crate::stream;
use losses::LossLedger;
pub use self_check::{BY_URING, WITHOUT};
use takeover::{Beginning, Continuity, Left};

/// An error that ends the recorder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Of the kernel side.
    #[error(transparent)]
    Kernel(#[from] bpf::Error),
    /// Of the store.
    #[error(transparent)]
    Spool(#[from] spool::Error),
}

/// What a recorder is made of.
#[derive(Debug)]
pub struct Setup {
    /// What the kernel side takes.
    pub kernel: bpf::Options,
    /// The rules' names, in the order of their numbers.
    pub rules: Vec<RuleName>,
    /// Where streams are kept.
    pub spool: PathBuf,
    /// How they are kept.
    pub keep: spool::Options,
    /// What the guard decides by.
    pub policy: guard::Policy,
    /// What programs are judged by before they run.
    pub gate: guard::gate::Gate,
    /// Whether there is somebody who answers for what is held.
    pub asks: bool,
    /// How work leaves a session.
    pub handoff: crate::config::HandOff,
    /// What is the recorder's own beside its process: the state directory, first, and the configuration.
    pub own: Vec<PathBuf>,
    /// How often a canary shows that the hooks fire; zero: never.
    pub canary: Duration,
    /// Where the kernel programs are pinned, to outlive a recorder that is
    /// killed; empty: nowhere.
    pub pins: PathBuf,
    /// Whether sessions, too, go on when it stops by itself, for the next one.
    pub leaves: bool,
    /// Whether it goes on with what a recorder that was killed left, as a daemon
    /// does and a run by itself does not.
    pub takes_over: bool,
}

/// So often directories of the guard's policy are looked for anew: they can be made, moved, mounted.
const PLACES_INTERVAL: Duration = Duration::from_secs(5);
/// So often what is too old or too much is looked for in the spool.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);
/// Records are durable this long after they were made, at the latest.
const SYNC_INTERVAL: Duration = Duration::from_millis(500);
/// Wait for events that were too young for the last batch.
const SETTLE: Duration = Duration::from_millis(3);
/// Longest wait without an event, so that counters are looked at.
const IDLE: Duration = Duration::from_millis(500);

/// One recorder.
#[derive(Debug)]
pub struct Recorder {
    kernel: Kernel,
    rings: Rings,
    batch: Batch,
    tracker: Tracker,
    spool: Spool,
    loss: LossLedger,
    delivered: [u64; KINDS],
    next_session: SessionNumber,
    last_sync: Instant,
    unsynced: bool,
    waiters: Vec<operators::Waiter>,
    policy: guard::Policy,
    own: Vec<PathBuf>,
    last_places: Instant,
    flow: Option<stream::Flow>,
    last_tidy: Instant,
    holds: exec_gate::Holds,
    heirs: written_files::Heirs,
    watch: self_check::Watch,
    continuity: Option<Continuity>,
    /// Of the recorder before, until it is taken over from.
    left: Left,
    returning: Option<takeover::same_programs::Returning>,
    /// Something happened that the checkpoint does not have yet.
    is_unkept: bool,
}

impl Recorder {
    /// Loads and attaches the kernel programs and opens the spool.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or the spool cannot be opened.
    pub fn start(setup: Setup) -> Result<Self, Error> {
        let state = setup.own.first().map(PathBuf::as_path);
        let state = state.unwrap_or(Path::new("/"));
        let choice = takeover::stream(setup.takes_over, state);
        let spool = Spool::open_one(&setup.spool, setup.keep, choice)?;
        let Beginning {
            mut kernel,
            rings,
            continuity,
            left,
            told,
        } = takeover::begin(&setup, state)?;
        kernel.set_places(&guard::places::resolve(&setup.policy))?;
        let mut holds = exec_gate::Holds::new(setup.gate, setup.asks);
        set_programs(&mut kernel, &setup.policy, &mut holds)?;
        if !matches!(left, Left::Programs(_)) {
            kernel.attach()?;
        }
        kernel.set_own(&guard::self_protection::files(
            &setup.own,
            &guard::switches(),
        ))?;
        let profile = kernel.profile().to_string();
        let mut recorder = Self {
            kernel,
            rings,
            batch: Batch::default(),
            tracker: Tracker::new(
                setup.rules,
                Derivation {
                    handoffs: HandOffs::of(&setup.handoff),
                    own: Own::of_this(setup.own.clone(), guard::switches()),
                },
                &profile,
            ),
            spool,
            loss: LossLedger::default(),
            delivered: [0; KINDS],
            next_session: USER_SESSION,
            last_sync: Instant::now(),
            unsynced: false,
            waiters: Vec::new(),
            policy: setup.policy,
            own: setup.own,
            last_places: Instant::now(),
            flow: None,
            last_tidy: Instant::now(),
            holds,
            heirs: written_files::Heirs::new(setup.handoff.heirs),
            watch: self_check::Watch::new(setup.canary),
            continuity,
            left,
            returning: None,
            is_unkept: false,
        };
        recorder.tell(RecorderEvent::Start, &profile);
        for (event, detail) in told {
            recorder.tell(event, &detail);
        }
        let passed_over: Vec<_> = recorder
            .kernel
            .passed_over()
            .iter()
            .map(|(profile, why)| format!("{profile}: {why}"))
            .collect();
        for why in passed_over {
            recorder.tell(RecorderEvent::ProfilePassedOver, &why);
        }
        if let Some(why) = recorder.kernel.not_refusing().map(ToString::to_string) {
            recorder.tell(RecorderEvent::GuardNotRefusing, &why);
        }
        for absent in recorder.kernel.absent().to_vec() {
            recorder.tell(RecorderEvent::HookAbsent, &absent.to_string());
        }
        // What is missing in the spool is told of before anything else happens. Who
        // goes on where another was does not know yet what is.
        if !matches!(recorder.left, Left::Programs(_)) {
            recorder.tell_losses()?;
        }
        Ok(recorder)
    }

    /// The spool's stream folder.
    pub fn spool(&self) -> &Spool {
        &self.spool
    }

    /// What the stream's other end is told.
    pub fn progress(&self) -> stream::Progress {
        stream::Progress {
            last: self.spool.durable(),
            lost: self.lost(),
        }
    }

    /// Records lost since it started, by every cause.
    fn lost(&self) -> u64 {
        self.loss.total() + self.spool.dropped()
    }

    /// The sessions.
    pub fn sessions(&self) -> &session::Registry {
        &self.tracker.registry
    }

    /// Has [`Recorder::step`] end when this is readable.
    ///
    /// # Errors
    ///
    /// epoll_ctl(2) refuses.
    pub fn watch(&self, other: BorrowedFd<'_>) -> Result<(), Error> {
        Ok(self.rings.watch(other)?)
    }

    /// Puts a process that has not exec'd yet into a session of its own.
    ///
    /// # Errors
    ///
    /// It is gone, or the kernel has no room.
    pub fn register(&mut self, pid: u32, agent: &str, name: &str) -> Result<SessionId, Error> {
        self.next_session += 1;
        let number = self.next_session;
        self.kernel.begin_session(number)?;
        let begin = Begin {
            number,
            agent: agent.to_owned(),
            rule: "run".to_owned(),
            name: name.to_owned(),
            origin: proto::Origin::Run,
            root: pid,
            authority: authority::of_process(pid),
        };
        let id = self.tracker.begin_session(begin);
        self.kernel
            .tags()
            .set_process(pid, Tag::new(number, session::boot_ns()))?;
        self.keep();
        Ok(id)
    }

    /// Waits for events, and carries them. True when the watched descriptor is readable.
    ///
    /// # Errors
    ///
    /// The rings, the maps or the spool fail.
    pub fn step(&mut self) -> Result<bool, Error> {
        let wait = if self.unsynced {
            SYNC_INTERVAL.saturating_sub(self.last_sync.elapsed())
        } else {
            IDLE
        };
        let is_pressing =
            self.holds.is_pressing() || self.heirs.is_pressing() || self.watch.is_pressing();
        let wait = if self.batch.holds_back() || is_pressing {
            SETTLE.min(wait)
        } else {
            wait
        };
        let woken = self.rings.wait(wait)?;
        self.pass_gate()?;
        let carried = session::boot_ns();
        while self.carry(false)? {}
        self.tend_gate(carried);
        self.tell_heirs(carried);
        self.tell_losses()?;
        // Behind the losses: where there are any, it proves nothing.
        self.tend_canary(carried)?;
        if self.last_places.elapsed() >= PLACES_INTERVAL {
            self.last_places = Instant::now();
            self.refresh()?;
        }
        if self.last_tidy.elapsed() >= TIDY_INTERVAL {
            self.last_tidy = Instant::now();
            self.spool.tidy();
        }
        if self.unsynced && self.last_sync.elapsed() >= SYNC_INTERVAL {
            self.sync();
        } else {
            self.spool.flush();
        }
        if self.is_unkept {
            self.keep();
        }
        Ok(woken.other)
    }

    /// Has the kernel programs know what the policy, the gate and the recorder's
    /// own names lead to now.
    fn refresh(&mut self) -> Result<(), Error> {
        self.kernel
            .set_places(&guard::places::resolve(&self.policy))?;
        self.kernel.set_own(&guard::self_protection::files(
            &self.own,
            &guard::switches(),
        ))?;
        set_programs(&mut self.kernel, &self.policy, &mut self.holds)?;
        let changed = self.kernel.changed()?;
        if !changed.is_empty() {
            self.tell_tamper(proto::TamperAct::MapChanged, changed.join(", "));
        }
        Ok(())
    }

    /// Ends every process of a session.
    ///
    /// # Errors
    ///
    /// The kernel's map cannot be written.
    pub fn kill(&mut self, number: SessionNumber) -> Result<guard::Killed, Error> {
        if let Some(session) = self.tracker.registry.get_mut(number) {
            session.killed = true;
        }
        self.kernel.condemn(number)?;
        Ok(guard::kill(self.kernel.tags(), number))
    }

    /// One batch from ring to spool. True when there is more.
    fn carry(&mut self, last: bool) -> Result<bool, Error> {
        let more = self.rings.drain(&mut self.batch, last);
        if self.batch.is_empty() {
            return Ok(more);
        }
        fault::point(fault::EVENTS_READ);
        self.is_unkept = true;
        if let Some(jump) = self.tracker.begin_batch() {
            self.tell(RecorderEvent::ClockJump, &jump.to_string());
        }
        self.find_in_batch()?;
        let (mut records, mut notices) = (Vec::new(), Vec::new());
        for bytes in self.batch.iter() {
            match decode(bytes) {
                Ok(event) => {
                    if event.header.session == self_check::CANARY {
                        self.watch.see(&event);
                        continue;
                    }
                    if let Some(count) = self.delivered.get_mut(usize::from(event.header.kind)) {
                        *count += 1;
                    }
                    self.tracker.absorb(&event, &mut records, &mut notices);
                }
                Err(_) => self.loss.damaged += 1,
            }
        }
        self.store(records);
        self.learn_written()?;
        for notice in notices {
            match notice {
                Notice::Limit(header, body) => self.enforce(&header, body)?,
                // Others of it can be on their way.
                Notice::Empty(_) if self.returning.is_some() => {}
                Notice::Empty(number) => self.end(number, proto::EndReason::Exited)?,
            }
        }
        Ok(more)
    }

    fn enforce(&mut self, header: &Header, body: GuardBody) -> Result<(), Error> {
        let number = header.session;
        let ends = body.killed != 0;
        let freezes = ends && self.policy.config.action == GUARD_FREEZE;
        if let Some(session) = self.tracker.registry.get_mut(number) {
            // Threads that were past the limit together each told of it: one sweep meets them all.
            let met = if freezes {
                &mut session.frozen
            } else {
                &mut session.killed
            };
            if ends && std::mem::replace(met, true) {
                return Ok(());
            }
        }
        let (mut killed, mut frozen) = (guard::Killed::default(), guard::Frozen::default());
        if freezes {
            frozen = self.freeze(number);
        } else if ends {
            killed = self.sweep(header);
        }
        let latency = session::boot_ns().saturating_sub(header.time);
        let session = self.tracker.registry.get(number);
        let sample = session.map(|session| &session.sample);
        let sample = || sample.into_iter().flatten();
        let truncated = (0..).zip(sample()).filter(|(_, path)| path.truncated);
        let sample_truncated = truncated.map(|(position, _)| position).collect();
        let sample = sample().map(|path| path.bytes.to_vec()).collect();
        let action = if freezes {
            proto::Action::Freeze
        } else if body.denied != 0 {
            proto::Action::Deny
        } else if ends {
            proto::Action::Kill
        } else {
            proto::Action::Alert
        };
        let policy = Policy::from_number(body.policy).map_or("unknown", Policy::name);
        let enforcement = proto::Enforcement {
            policy: policy.to_owned(),
            action: action.into(),
            count: body.count,
            limit: body.limit,
            window_ns: body.window,
            sample,
            sample_truncated,
            survivors: u32::try_from(killed.survivors.len()).unwrap_or(u32::MAX),
            survivor: killed.survivors,
            killed: killed.pids.into_iter().collect(),
            frozen: frozen.pids.into_iter().collect(),
            cgroups: killed
                .cgroups
                .into_iter()
                .chain(frozen.cgroups)
                .map(|path| path.into_os_string().into_encoded_bytes())
                .collect(),
            latency_ns: latency,
            operation_may_have_completed: ends && body.denied == 0,
            gate: None,
        };
        let record = self.tracker.enforcement(header, enforcement);
        self.store([record]);
        self.sync();
        Ok(())
    }

    /// Ends what is left of a session that a limit was met in. Others died or
    /// die at their next call, by the kernel's mark, before the sweep meets them.
    fn sweep(&mut self, header: &Header) -> guard::Killed {
        let mut killed = guard::kill(self.kernel.tags(), header.session);
        killed.pids.insert(header.pid);
        if let Some(session) = self.tracker.registry.get_mut(header.session) {
            killed.pids.extend(&session.live);
            killed.pids.extend(&session.struck);
        }
        let survives = |pid: &u32| killed.survivors.iter().any(|left| left.pid == *pid);
        killed.pids.retain(|pid| !survives(pid));
        killed
    }

    /// Stops every process of a session.
    fn freeze(&mut self, number: SessionNumber) -> guard::Frozen {
        let frozen = guard::freeze(self.kernel.tags(), number);
        if let Some(session) = self.tracker.registry.get_mut(number) {
            session.frozen = true;
            session
                .frozen_cgroups
                .extend(frozen.cgroups.iter().cloned());
        }
        frozen
    }

    fn end(&mut self, number: SessionNumber, reason: proto::EndReason) -> Result<(), Error> {
        self.tell_losses()?;
        self.clear_gate(number);
        let id = self
            .tracker
            .registry
            .get_mut(number)
            .map(|session| session.id);
        // The kernel had no room for one that is not counted.
        let counted = self.kernel.destroyed(number).unwrap_or_default();
        let mut counters = self.kernel.counters()?;
        self.watch.leave_out(&mut counters.produced);
        let totals = losses::totals(&counters, &self.delivered, &self.loss.crashed, counted);
        let records = self.tracker.end_session(number, reason, totals);
        self.store(records);
        // First durable, then forgotten: who comes after this recorder looks at both.
        self.sync();
        fault::point(fault::SESSION_ENDED);
        self.kernel.end_session(number);
        self.is_unkept = true;
        if let Some(id) = id {
            self.answer_waiters(id);
        }
        Ok(())
    }

    fn tell_losses(&mut self) -> Result<(), Error> {
        let counters = self.kernel.counters()?;
        self.loss.pending = self.tracker.pending_lost;
        let losses = self.loss.news(&counters);
        let bodies = losses.into_iter().map(proto::record::Body::Loss);
        let records: Vec<_> = bodies
            .chain(self.spool.take_news())
            .map(|body| self.tracker.stream_record(body))
            .collect();
        if !records.is_empty() {
            self.store(records);
            self.sync();
        }
        Ok(())
    }

    /// What is on its way to the collector, for those who ask.
    pub fn show_flow(&mut self, flow: stream::Flow) {
        self.flow = Some(flow);
    }

    /// Records what the stream has to say about its collector.
    pub fn declare(&mut self, declaration: &stream::Declaration) {
        self.tell(declaration.event, &declaration.detail);
    }

    fn tell(&mut self, event: RecorderEvent, detail: &str) {
        let body = proto::record::Body::StreamEvent(proto::StreamEvent {
            event: event.name().to_owned(),
            detail: detail.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        });
        let record = self.tracker.stream_record(body);
        self.store([record]);
    }

    fn store(&mut self, records: impl IntoIterator<Item = proto::Record>) {
        let mut begins = false;
        for record in records {
            begins |= matches!(record.body, Some(proto::record::Body::SessionStart(_)));
            self.spool.append(record);
            self.unsynced = true;
        }
        // That there was a session must not be lost, whatever its first act is.
        if begins {
            self.sync();
        }
    }

    /// What cannot be written now is held by the spool, which says so: the
    /// recorder and its guard go on, and the next interval tries again.
    fn sync(&mut self) {
        self.unsynced = self.spool.sync().is_err();
        self.last_sync = Instant::now();
    }
}

/// Every process that is in a session, with that session.
fn tagged(tags: &bpf::Tags) -> Result<Vec<(u32, SessionNumber)>, Error> {
    guard::tagged(tags).map_err(|source| {
        let what = "looking for the members of sessions in /proc";
        bpf::Error::System { what, source }.into()
    })
}

/// Tells the kernel the programs' files that are there now.
fn set_programs(
    kernel: &mut Kernel,
    policy: &guard::Policy,
    holds: &mut exec_gate::Holds,
) -> Result<(), Error> {
    let files = holds.gate.files();
    let mut programs: HashMap<_, _> = files.programs.into_iter().collect();
    for key in guard::places::programs(policy) {
        *programs.entry(key).or_insert(0) |= PROGRAM_RESTORES;
    }
    Ok(kernel.set_programs(&programs, &files.sizes)?)
}
