//! Programs at the gate: let go, ended, or held until a person has decided;
//! and what is recorded of that.
//!
//! Not here: by which rules they are judged (`guard::gate`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use agent_recorder_abi::event::Header;
use agent_recorder_abi::exec_gate::Held;
use agent_recorder_abi::state::SessionNumber;

use super::{Error, Recorder};
use crate::bpf::{Started, Tags};
use crate::config::{Answer, GateAction};
use crate::guard;
use crate::guard::gate::{Gate, Met, Stopped};
use crate::record::{ProcessKey, SessionId, proto};
use crate::session::{self, authority};

/// An exec itself is carried this long after the gate told of it: what the
/// rings hold back (`bpf::ring`), and a little.
pub(super) const CARRIED_NS: u64 = 3_000_000;
/// Approved commands that are remembered: a wrapper starts its program again
/// within moments.
const APPROVED: usize = 256;

/// What waits at the gate.
#[derive(Debug)]
pub(super) struct Holds {
    pub(super) gate: Gate,
    /// Whether there is somebody to ask.
    asks: bool,
    /// Stopped, their rules met, not yet recorded.
    met: Vec<Waiting>,
    /// Ended before they were judged, not yet recorded.
    gone: Vec<Header>,
    held: Vec<Hold>,
    /// What was approved: the same command in another program of the same process is not asked for again.
    approved: VecDeque<(ProcessKey, Vec<String>)>,
}

#[derive(Debug)]
struct Waiting {
    held: Held,
    stopped: Stopped,
    met: Met,
}

#[derive(Debug)]
struct Hold {
    id: String,
    waiting: Waiting,
    deadline: Instant,
    since: Instant,
}

impl Holds {
    pub(super) fn new(gate: Gate, asks: bool) -> Self {
        Self {
            gate,
            asks,
            met: Vec::new(),
            gone: Vec::new(),
            held: Vec::new(),
            approved: VecDeque::new(),
        }
    }

    /// Whether some are to be looked at again in a moment.
    pub(super) fn is_pressing(&self) -> bool {
        !(self.met.is_empty() && self.gone.is_empty())
    }

    /// Whether this process waits here, or is known to have ended.
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.waiting().any(|held| held.header.pid == pid)
            || self.gone.iter().any(|header| header.pid == pid)
    }

    /// Those that wait, as the kernel told of them.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Held> {
        let met = self.met.iter().map(|waiting| &waiting.held);
        met.chain(self.held.iter().map(|hold| &hold.waiting.held))
    }

    fn is_approved(&self, waiting: &Waiting) -> bool {
        let process = session::key_of(&waiting.held.header);
        let mut approved = self.approved.iter();
        approved.any(|(of, command)| *of == process && *command == waiting.met.command)
    }

    fn approve(&mut self, waiting: &Waiting) {
        if self.approved.len() == APPROVED {
            self.approved.pop_front();
        }
        let process = session::key_of(&waiting.held.header);
        self.approved
            .push_back((process, waiting.met.command.clone()));
    }
}

impl Recorder {
    /// Judges every program that was stopped, and lets go at once what meets no rule.
    ///
    /// # Errors
    ///
    /// The kernel's maps cannot be read or written.
    pub(super) fn pass_gate(&mut self) -> Result<(), Error> {
        for started in self.rings.started() {
            match started {
                Started::Held(held) => self.judge(held),
                Started::Heir(event) => self.meet_heir(&event)?,
            }
        }
        Ok(())
    }

    /// A program that waits, and of which nothing else is known, for its daemon
    /// was killed: it gets the answer that it would get in time. `elsewhere`:
    /// the tags that it is held by, where those are not the recorder's own.
    pub(super) fn answer_unknown(
        &mut self,
        pid: u32,
        session: SessionNumber,
        elsewhere: Option<&Tags>,
    ) {
        let tags = elsewhere.unwrap_or(self.kernel.tags());
        let Some(stopped) = Stopped::held(tags, pid) else {
            return;
        };
        let action = match self.holds.gate.answer {
            Answer::Approve => {
                stopped.let_go(tags);
                proto::Action::Hold
            }
            Answer::Deny => {
                stopped.end();
                proto::Action::Kill
            }
        };
        let header = Header {
            pid,
            session,
            start_time: authority::start_time_of(pid).unwrap_or_default(),
            ..Header::default()
        };
        let gate = proto::GateAct {
            answer: proto::HoldAnswer::Nobody.into(),
            ..proto::GateAct::default()
        };
        self.record_gate(&header, action, gate);
    }

    /// Judges one.
    pub(super) fn judge(&mut self, held: Held) {
        self.is_unkept = true;
        let tags = self.kernel.tags();
        let Some((stopped, met)) = self.holds.gate.judge(tags, &held) else {
            self.holds.gone.push(held.header);
            return;
        };
        match met {
            Some(met) if met.action != GateAction::Allow => {
                self.holds.met.push(Waiting { held, stopped, met });
            }
            // False when it has ended: nobody waits.
            _ => {
                stopped.let_go(tags);
            }
        }
    }

    /// Acts on those that met a rule, once their exec is recorded, and on holds
    /// that nobody decided in time. `carried` is until when events were carried, ns.
    pub(super) fn tend_gate(&mut self, carried: u64) {
        self.settle_gate(|header| header.time + CARRIED_NS <= carried);
    }

    /// The same for all that a session has left at the gate: its last process has ended.
    pub(super) fn clear_gate(&mut self, session: SessionNumber) {
        self.settle_gate(|header| header.session == session);
    }

    fn settle_gate(&mut self, is_recorded: impl Fn(&Header) -> bool) {
        let met = |it: &mut Waiting| is_recorded(&it.held.header);
        let ready: Vec<_> = self.holds.met.extract_if(.., met).collect();
        for waiting in ready {
            self.act_on(waiting);
        }
        let gone: Vec<_> = self
            .holds
            .gone
            .extract_if(.., |it| is_recorded(it))
            .collect();
        for header in gone {
            let gate = proto::GateAct {
                answer: proto::HoldAnswer::Ended.into(),
                ..proto::GateAct::default()
            };
            self.record_gate(&header, proto::Action::Kill, gate);
        }
        let is_over =
            |hold: &mut Hold| hold.waiting.stopped.has_ended() || hold.deadline <= Instant::now();
        let over: Vec<_> = self.holds.held.extract_if(.., is_over).collect();
        for hold in over {
            if hold.waiting.stopped.has_ended() {
                self.tell_gate(
                    &hold.waiting,
                    proto::Action::Kill,
                    told(&hold, proto::HoldAnswer::Ended),
                );
            } else {
                let answer = self.holds.gate.answer;
                self.answer(hold, answer, proto::HoldAnswer::TimedOut, None);
            }
        }
    }

    /// Nobody is asked any more: what is held gets the answer that it would get in time.
    pub(super) fn close_gate(&mut self) -> Result<(), Error> {
        self.pass_gate()?;
        self.holds.asks = false;
        self.tend_gate(u64::MAX);
        for hold in std::mem::take(&mut self.holds.held) {
            let answer = self.holds.gate.answer;
            self.answer(hold, answer, proto::HoldAnswer::Nobody, None);
        }
        Ok(())
    }

    fn act_on(&mut self, waiting: Waiting) {
        match waiting.met.action {
            GateAction::Allow | GateAction::Alert => {
                waiting.stopped.let_go(self.kernel.tags());
                self.tell_gate(&waiting, proto::Action::Alert, Told::default());
            }
            GateAction::Kill => {
                waiting.stopped.end();
                self.tell_gate(&waiting, proto::Action::Kill, Told::default());
            }
            GateAction::Hold if self.holds.is_approved(&waiting) => {
                waiting.stopped.let_go(self.kernel.tags());
            }
            GateAction::Hold => self.hold(waiting),
        }
    }

    fn hold(&mut self, waiting: Waiting) {
        let now = Instant::now();
        let hold = Hold {
            id: short_id(),
            waiting,
            deadline: now + self.holds.gate.timeout,
            since: now,
        };
        if !self.holds.asks {
            let answer = self.holds.gate.answer;
            return self.answer(hold, answer, proto::HoldAnswer::Nobody, None);
        }
        let unanswered = told(&hold, proto::HoldAnswer::Unspecified);
        self.tell_gate(&hold.waiting, proto::Action::Hold, unanswered);
        tracing::warn!(
            "held: {} (rule {}); `agent-recorder approve {}` or `deny {}` within {:?}",
            shown(&hold.waiting.met.argv),
            hold.waiting.met.rule,
            hold.id,
            hold.id,
            self.holds.gate.timeout,
        );
        self.holds.held.push(hold);
    }

    fn answer(&mut self, hold: Hold, answer: Answer, by: proto::HoldAnswer, uid: Option<u32>) {
        self.is_unkept = true;
        let action = match answer {
            Answer::Approve => {
                self.holds.approve(&hold.waiting);
                hold.waiting.stopped.let_go(self.kernel.tags());
                proto::Action::Hold
            }
            Answer::Deny => {
                hold.waiting.stopped.end();
                proto::Action::Kill
            }
        };
        let told = Told {
            decided_by: uid,
            ..told(&hold, by)
        };
        self.tell_gate(&hold.waiting, action, told);
    }

    /// A person's answer. The arguments of the program that it was for.
    ///
    /// # Errors
    ///
    /// Nothing of this name is held, or `caller` is a member of a session: who
    /// is held does not decide.
    pub(super) fn decide(
        &mut self,
        name: &str,
        answer: Answer,
        caller: Option<u32>,
        uid: u32,
    ) -> Result<Vec<Vec<u8>>, String> {
        self.must_be_outside(caller)?;
        let is_it = |hold: &Hold| hold.id == name;
        let Some(position) = self.holds.held.iter().position(is_it) else {
            return Err(format!("nothing is held by the name {name}"));
        };
        let hold = self.holds.held.remove(position);
        let by = match answer {
            Answer::Approve => proto::HoldAnswer::Approved,
            Answer::Deny => proto::HoldAnswer::Denied,
        };
        let argv = hold.waiting.met.argv.clone();
        self.answer(hold, answer, by, Some(uid));
        Ok(argv)
    }

    /// Operators' commands are not for members of a session.
    ///
    /// # Errors
    ///
    /// The process is one, or cannot be told from one.
    pub(super) fn must_be_outside(&self, caller: Option<u32>) -> Result<(), String> {
        let is_outside = caller
            .and_then(|pid| guard::is_member(self.kernel.tags(), pid))
            .is_some_and(|is_member| !is_member);
        if is_outside {
            Ok(())
        } else {
            Err("the caller is a member of a session, or has ended".to_owned())
        }
    }

    /// What is held, for those who ask.
    pub(super) fn holds(&self) -> Vec<proto::HoldInfo> {
        let info = |hold: &Hold| proto::HoldInfo {
            id: hold.id.clone(),
            session_id: self
                .tracker
                .registry
                .get(hold.waiting.held.header.session)
                .map(|session| session.id.to_bytes())
                .unwrap_or_default(),
            pid: hold.waiting.held.header.pid,
            rule: hold.waiting.met.rule.clone(),
            argv: hold.waiting.met.argv.clone(),
            left_ns: nanoseconds(hold.deadline.saturating_duration_since(Instant::now())),
        };
        self.holds.held.iter().map(info).collect()
    }

    fn tell_gate(&mut self, waiting: &Waiting, action: proto::Action, told: Told) {
        let gate = proto::GateAct {
            rule: waiting.met.rule.clone(),
            argv: waiting.met.argv.clone(),
            hold: told.hold,
            answer: told.answer.into(),
            decided_by_uid: told.decided_by,
            held_ns: told.held_ns,
        };
        self.record_gate(&waiting.held.header, action, gate);
    }

    fn record_gate(&mut self, header: &Header, action: proto::Action, gate: proto::GateAct) {
        let killed = if action == proto::Action::Kill {
            vec![header.pid]
        } else {
            Vec::new()
        };
        let enforcement = proto::Enforcement {
            policy: "gate".to_owned(),
            action: action.into(),
            killed,
            latency_ns: session::boot_ns().saturating_sub(header.time),
            gate: Some(gate),
            ..proto::Enforcement::default()
        };
        let record = self.tracker.enforcement(header, enforcement);
        self.store([record]);
        self.sync();
    }
}

/// What a record says of a hold.
#[derive(Debug, Default)]
struct Told {
    hold: String,
    answer: proto::HoldAnswer,
    decided_by: Option<u32>,
    held_ns: u64,
}

fn told(hold: &Hold, answer: proto::HoldAnswer) -> Told {
    Told {
        hold: hold.id.clone(),
        answer,
        decided_by: None,
        held_ns: nanoseconds(hold.since.elapsed()),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Short enough to type, and no other hold's: the random end of a UUIDv7.
fn short_id() -> String {
    let bytes = SessionId::generate().to_bytes();
    bytes[12..]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn shown(argv: &[Vec<u8>]) -> String {
    let words: Vec<_> = argv
        .iter()
        .map(|word| String::from_utf8_lossy(word).escape_debug().to_string())
        .collect();
    words.join(" ")
}
