//! Sessions that met a limit and are stopped: the judge looks at what they destroyed, and
//! they go on, or end.
//!
//! The kernel programs count, stop the session, and tell of each counted object. Where
//! this recorder gives no sign of life, they end the session themselves.
//! A repository that goes after what it held stops its session here, too.
//! Not here: what holds an object (`guard::judge`), the budgets (`guard::budget`), and the
//! enforcement record (`enforcement`).

mod objects;
mod planted_proofs;
mod repository_holds;
mod tally;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use agent_recorder_abi::event::{COUNTED_REMOVED, GuardBody, Header};
use agent_recorder_abi::policy::{GuardConfig, PlaceKey, Policy};
use agent_recorder_abi::state::{Session, SessionNumber};

use self::objects::objects_of;
use self::planted_proofs::Planted;
use self::repository_holds::Leaning;
use self::tally::{Sorted, described, keys_of, sort};
use super::Error;
use super::core::Core;
use crate::bpf::CountedEvent;
use crate::guard;
use crate::guard::budget::{Losses, Lost};
use crate::guard::judge::{self, Settings};
use crate::record::proto;
use crate::session::{self, Counted, Renames};

/// Interval of the signs of life: several within the time after which the kernel programs
/// take the judge for dead (`JUDGE_SILENT_NS`).
const SIGN: Duration = Duration::from_millis(400);
/// Longest judgement.
const WITHIN: Duration = Duration::from_millis(500);
/// Most counted objects that are remembered of one session: of more, the first are lost.
const MOST_COUNTED: usize = 4096;
/// For so long after a session went on, members that are stopped still are woken: a stop
/// can have been on its way to a member when all were woken.
const WAKING: Duration = Duration::from_secs(1);
/// Interval at which such members are looked for.
const WAKE: Duration = Duration::from_millis(50);
/// Age of the limit's event at which all earlier events have been carried, ns.
const CARRIED_NS: u64 = 2_000_000;

/// The judgements of this recorder.
#[derive(Debug)]
pub(super) struct Judgements {
    /// `None` where the guard does not ask the judge.
    settings: Option<Settings>,
    sessions: HashMap<SessionNumber, Observed>,
    waiting: BTreeMap<SessionNumber, Waiting>,
    waking: Vec<Waking>,
    /// Sessions that removed part of a repository which held what they removed before.
    shaken: BTreeMap<SessionNumber, Header>,
    last_sign: Option<Instant>,
}

/// What is known of a session's destruction.
#[derive(Debug, Default)]
struct Observed {
    /// Objects that were counted since the last judgement, oldest first.
    counted: Vec<Counted>,
    /// The session's count at the last judgement.
    judged: u64,
    losses: Losses,
    renames: Renames,
    planted: Planted,
    leaning: Leaning,
}

/// A session that is stopped.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// The process that met the limit; its time is that of the limit.
    header: Header,
    body: GuardBody,
    /// The recorder stopped it, not the kernel programs.
    is_shaken: bool,
}

/// A session that went on.
#[derive(Debug)]
struct Waking {
    session: SessionNumber,
    until: Instant,
    last: Instant,
}

/// The outcome for a session that was stopped.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) header: Header,
    pub(super) body: GuardBody,
    /// Whether the session has lost as much as a limit allows.
    pub(super) ends: bool,
    pub(super) judgement: proto::Judgement,
}

impl Judgements {
    /// `is_on`: whether the guard asks the judge before it ends a session.
    pub(super) fn new(is_on: bool) -> Self {
        let settings = is_on.then(|| {
            Settings::of_host().unwrap_or_else(|fault| {
                // Without the users' homes, fewer places bound what the judge believes.
                tracing::warn!("the judge knows only /root and /home as homes: {fault}");
                Settings::default()
            })
        });
        Self {
            settings,
            sessions: HashMap::new(),
            waiting: BTreeMap::new(),
            waking: Vec::new(),
            shaken: BTreeMap::new(),
            last_sign: None,
        }
    }

    /// Whether a session waits, or may have a member that is stopped still.
    pub(super) fn is_pressing(&self) -> bool {
        !self.waiting.is_empty() || !self.waking.is_empty() || !self.shaken.is_empty()
    }

    /// Gives a sign of life, and wakes members of sessions that went on.
    ///
    /// # Errors
    ///
    /// The kernel's map cannot be written.
    pub(super) fn on_tick(&mut self, core: &mut Core) -> Result<(), Error> {
        self.sign(core)?;
        let now = Instant::now();
        for waking in &mut self.waking {
            if now.duration_since(waking.last) >= WAKE {
                waking.last = now;
                wake(core, &self.waiting, waking.session);
            }
        }
        self.waking.retain(|waking| now < waking.until);
        Ok(())
    }

    /// Gives a sign of life when it is time; without a judge, takes back once what an
    /// earlier recorder gave.
    fn sign(&mut self, core: &mut Core) -> Result<(), Error> {
        let is_due = match (&self.settings, self.last_sign) {
            (_, None) => true,
            (Some(_), Some(last)) => last.elapsed() >= SIGN,
            (None, Some(_)) => false,
        };
        if !is_due {
            return Ok(());
        }
        let lives = self.settings.is_some();
        core.kernel
            .sign_of_judge(if lives { session::boot_ns() } else { 0 })?;
        self.last_sign = Some(Instant::now());
        Ok(())
    }

    /// Wakes the members of all sessions that went on lately: nobody does so later.
    pub(super) fn wake_all(&self, core: &Core) {
        for waking in &self.waking {
            wake(core, &self.waiting, waking.session);
        }
    }

    /// The kernel programs shall no longer wait for this recorder.
    ///
    /// # Errors
    ///
    /// As for [`Judgements::on_tick`].
    pub(super) fn retire(&self, core: &mut Core) -> Result<(), Error> {
        if self.settings.is_some() {
            core.kernel.sign_of_judge(0)?;
        }
        Ok(())
    }

    /// An object was counted.
    pub(super) fn note(&mut self, header: &Header, event: &CountedEvent<'_>) {
        let observed = self.sessions.entry(header.session).or_default();
        let counted = Counted::of(header, event);
        if counted.body.effect == COUNTED_REMOVED && observed.leaning.is_shaken_by(&counted) {
            self.shaken.entry(header.session).or_insert(*header);
        }
        if observed.counted.len() < MOST_COUNTED {
            observed.counted.push(counted);
        }
    }

    /// Records of a session were made.
    pub(super) fn note_records(&mut self, number: SessionNumber, records: &[proto::Record]) {
        if self.settings.is_none() {
            return;
        }
        let files = records.iter().filter_map(|record| match &record.body {
            Some(proto::record::Body::File(file)) => Some(file),
            _ => None,
        });
        for file in files {
            let observed = self.sessions.entry(number).or_default();
            observed.renames.note(file);
            observed.planted.note(file);
        }
    }

    /// A session met a limit. Each of its processes stops at its next act that counts.
    pub(super) fn begin(&mut self, header: &Header, body: GuardBody) {
        let waiting = Waiting {
            header: *header,
            body,
            is_shaken: false,
        };
        // Several members can meet the limit; the first is the one that is named.
        self.waiting.entry(header.session).or_insert(waiting);
    }

    /// A session was stopped when the recorder before this one ended.
    pub(super) fn take_over(&mut self, number: SessionNumber) {
        let header = Header {
            session: number,
            time: session::boot_ns(),
            ..Header::default()
        };
        self.waiting.entry(number).or_insert(Waiting {
            header,
            body: GuardBody {
                killed: 1,
                judged: 1,
                ..GuardBody::default()
            },
            is_shaken: false,
        });
    }

    pub(super) fn on_session_end(&mut self, number: SessionNumber) {
        self.sessions.remove(&number);
        self.waiting.remove(&number);
        self.shaken.remove(&number);
        self.waking.retain(|waking| waking.session != number);
    }

    /// Judges the sessions whose events have all been carried, until `carried`, ns. Those
    /// that go on have gone on.
    ///
    /// # Errors
    ///
    /// As for [`Judgements::on_tick`].
    pub(super) fn decide(
        &mut self,
        core: &mut Core,
        config: &GuardConfig,
        carried: u64,
    ) -> Result<Vec<Judged>, Error> {
        self.stop_shaken(core, config);
        let is_ready = |waiting: &Waiting| waiting.header.time + CARRIED_NS < carried;
        let ready: Vec<_> = self
            .waiting
            .values()
            .filter(|it| is_ready(it))
            .copied()
            .collect();
        let mut judged = Vec::new();
        for waiting in ready {
            self.waiting.remove(&waiting.header.session);
            judged.extend(self.judge(core, config, waiting)?);
        }
        Ok(judged)
    }

    /// Stops the sessions that remove repositories which held what they removed before.
    fn stop_shaken(&mut self, core: &Core, config: &GuardConfig) {
        for (number, header) in std::mem::take(&mut self.shaken) {
            let count = core.kernel.session(number).map_or(0, |it| it.destroyed);
            let body = GuardBody {
                count,
                limit: config.files.limit(),
                window: config.files.window,
                killed: 1,
                denied: 0,
                policy: Policy::Files as u32,
                judged: 1,
            };
            self.begin(&header, body);
            if let Some(session) = core.tracker.registry.get(number) {
                guard::stop(core.kernel.tags(), number, &session.live);
            }
            if let Some(waiting) = self.waiting.get_mut(&number) {
                waiting.is_shaken = true;
            }
        }
    }

    /// `None` where an operator decided in the meantime, or the session is gone.
    fn judge(
        &mut self,
        core: &mut Core,
        config: &GuardConfig,
        waiting: Waiting,
    ) -> Result<Option<Judged>, Error> {
        let number = waiting.header.session;
        let Some(state) = core.kernel.session(number).map(with_count) else {
            return Ok(None);
        };
        let is_decided = |session: &session::Session| session.killed || session.frozen;
        let is_stopped = state.condemned != 0 || waiting.is_shaken;
        if core.tracker.registry.get(number).is_none_or(is_decided) || !is_stopped {
            return Ok(None);
        }
        let observed = self.sessions.entry(number).or_default();
        let counted = std::mem::take(&mut observed.counted);
        let (objects, places) = objects_of(&counted, waiting.header.pid, &observed.renames);
        // A session that an earlier recorder stopped is judged where this one would not.
        let settings = Settings {
            planted: Some(observed.planted.predicate()),
            ..self.settings.clone().unwrap_or_default()
        };
        let judgement = judge::judge(&places, &settings, Instant::now() + WITHIN);
        for fault in &judgement.faults {
            tracing::info!("the judge of the guard: {fault}");
        }
        let since = state.destroyed.saturating_sub(observed.judged);
        let mut sorted = sort(&objects, &judgement, since, waiting.header.time);
        let fallen = observed.leaning.fall(&judgement);
        sorted.fallen = fallen.len() as u64;
        sorted.lost.extend(fallen);
        observed.leaning.note(&objects, &places, &judgement);
        observed.losses.add(sorted.lost.iter().copied());
        let met = observed.losses.met(config, waiting.header.time);
        if met.is_none() {
            self.release(core, config, number, state, &sorted, &keys_of(&judgement))?;
        }
        Ok(Some(Judged {
            header: waiting.header,
            body: waiting.body,
            ends: met.is_some(),
            judgement: described(&judgement, &sorted, since),
        }))
    }

    /// Lets a judged session go on. `state`: its counters when it was judged.
    fn release(
        &mut self,
        core: &mut Core,
        config: &GuardConfig,
        number: SessionNumber,
        state: Session,
        sorted: &Sorted,
        spared: &[PlaceKey],
    ) -> Result<(), Error> {
        let observed = self.sessions.entry(number).or_default();
        // Where no hook refuses, a member that ran still may have done one act more.
        let latest = core.kernel.session(number).map_or(state, with_count);
        let later = latest.destroyed.saturating_sub(state.destroyed);
        let mut losses = observed.losses.clone();
        losses.add((0..later).map(|_| Lost {
            time: session::boot_ns(),
            bytes: latest.bytes.saturating_sub(state.bytes) / later,
        }));
        let state = Session {
            destroyed: state.destroyed + later + sorted.fallen,
            bytes: latest.bytes,
            ..latest
        };
        let counters = losses.counters(state, sorted.spared_files, sorted.spared_bytes, config);
        observed.judged = counters.destroyed.saturating_sub(later);
        core.kernel.go_on(number, counters, spared)?;
        let is_free = || is_free(core, number);
        guard::wake_known(core.kernel.tags(), number, &live(core, number), is_free);
        let now = Instant::now();
        self.waking.push(Waking {
            session: number,
            until: now + WAKING,
            last: now,
        });
        Ok(())
    }
}

/// The state with its count. Two members that took back at one time can leave it below zero.
fn with_count(state: Session) -> Session {
    Session {
        destroyed: u64::try_from(state.destroyed.cast_signed()).unwrap_or(0),
        ..state
    }
}

/// Wakes the members of a session that went on, unless somebody has stopped it since.
fn wake(core: &Core, waiting: &BTreeMap<SessionNumber, Waiting>, number: SessionNumber) {
    let session = core.tracker.registry.get(number);
    let may_run = session.is_some_and(|it| !it.frozen && !it.killed);
    if may_run && !waiting.contains_key(&number) {
        guard::wake(core.kernel.tags(), number, || is_free(core, number));
    }
}

/// Whether the kernel programs let a session run: it can have met its next limit already,
/// whose event is still to come.
fn is_free(core: &Core, number: SessionNumber) -> bool {
    let state = core.kernel.session(number);
    state.is_some_and(|state| state.condemned == 0)
}

fn live(core: &Core, number: SessionNumber) -> BTreeSet<u32> {
    let session = core.tracker.registry.get(number);
    session.map_or_else(BTreeSet::new, |session| {
        session.live.iter().copied().collect()
    })
}
