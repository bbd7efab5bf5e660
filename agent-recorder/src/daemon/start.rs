//! The beginning of a recorder: the kernel programs, the stream, the stages, and the
//! records of that.
//!
//! Not here: the choice between a killed recorder's programs and new ones
//! (`takeover::left`).

use super::core::Core;
use super::enforcement::Enforcement;
use super::exec_gate::ExecGate;
use super::judgements::Judgements;
use super::losses::Losses;
use super::operators::Operators;
use super::records::Records;
use super::self_check::SelfCheck;
use super::takeover::left::{self, Beginning, Left};
use super::written_files::WrittenFiles;
use super::{Error, Recorder, Setup};
use crate::bpf::{Batch, Kernel};
use crate::guard;
use crate::record::RecorderEvent;
use crate::session::handoff::HandOffs;
use crate::session::tamper::Own;
use crate::session::{Derivation, Tracker};
use crate::spool::Spool;

impl Recorder {
    /// Loads and attaches the kernel programs and opens the spool.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or the spool cannot be opened.
    pub fn start(setup: Setup) -> Result<Self, Error> {
        let choice = left::stream(setup.takes_over, setup.state());
        let spool = Spool::open_one(&setup.spool, setup.keep, choice)?;
        let mut beginning = left::begin(&setup)?;
        let news = std::mem::take(&mut beginning.news);
        let mut recorder = Self::of(setup, spool, beginning)?;
        recorder.record_start(news);
        // Before any session acts: the kernel programs would end it at its limit.
        recorder.judgements.on_tick(&mut recorder.core)?;
        // Gaps in the spool are recorded before anything else happens. A recorder
        // that takes over has to find them first.
        if !recorder.has_taken_programs() {
            recorder.losses.record(&mut recorder.core)?;
        }
        Ok(recorder)
    }

    /// The stages, around attached kernel programs whose maps are filled.
    fn of(setup: Setup, spool: Spool, beginning: Beginning) -> Result<Self, Error> {
        let Beginning {
            mut kernel,
            rings,
            handover,
            left,
            news: _,
        } = beginning;
        let state = setup.own.first().cloned();
        let mut exec_gate = ExecGate::new(setup.gate, setup.asks);
        let enforcement = Enforcement::new(setup.policy, setup.own.clone());
        enforcement.set_places(&mut kernel)?;
        enforcement.set_programs(&mut kernel, &mut exec_gate.gate)?;
        if !matches!(left, Left::Programs(_)) {
            kernel.attach()?;
        }
        enforcement.set_own(&mut kernel)?;
        let derivation = Derivation {
            handoffs: HandOffs::of(&setup.handoff),
            own: Own::of_this(setup.own, guard::switches()),
        };
        let judgements = Judgements::new(enforcement.is_judged());
        let tracker = Tracker::new(setup.rules, derivation, &kernel.profile().to_string());
        Ok(Self {
            rings,
            batch: Batch::default(),
            core: Core::new(kernel, tracker, Records::of(spool)),
            exec_gate,
            written_files: WrittenFiles::new(setup.handoff.heirs),
            self_check: SelfCheck::new(setup.canary, state),
            losses: Losses::default(),
            operators: Operators::default(),
            enforcement,
            judgements,
            handover,
            left,
            returning: None,
        })
    }

    /// Whether this recorder took over the programs of an earlier one.
    fn has_taken_programs(&self) -> bool {
        matches!(self.left, Left::Programs(_))
    }

    /// Records the start, the settings, and what the kernel lacks.
    fn record_start(&mut self, news: Vec<(RecorderEvent, String)>) {
        let profile = self.core.kernel.profile().to_string();
        self.core.record_event(RecorderEvent::Start, &profile);
        let lacks = lacking(&self.core.kernel);
        for (event, detail) in news.into_iter().chain(lacks) {
            self.core.record_event(event, &detail);
        }
    }
}

/// Preferences that the kernel did not fulfil, and the reasons.
fn lacking(kernel: &Kernel) -> Vec<(RecorderEvent, String)> {
    let passed_over = kernel.passed_over().iter().map(|(profile, why)| {
        (
            RecorderEvent::ProfilePassedOver,
            format!("{profile}: {why}"),
        )
    });
    let not_refusing = kernel.not_refusing().into_iter();
    let absent = kernel.absent().iter();
    passed_over
        .chain(not_refusing.map(|why| (RecorderEvent::GuardNotRefusing, why.to_string())))
        .chain(absent.map(|absent| (RecorderEvent::HookAbsent, absent.to_string())))
        .collect()
}
