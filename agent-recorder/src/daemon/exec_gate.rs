//! Programs at the gate: they are released, ended, or held until a person decides;
//! and the records of that.
//!
//! Not here: the rules by which they are judged (`guard::gate`), and the loop that
//! passes them in (`recorder`).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use agent_recorder_abi::event::Header;
use agent_recorder_abi::exec_gate::Held;
use agent_recorder_abi::state::SessionNumber;

use super::core::Core;
use crate::bpf::Tags;
use crate::config::{Answer, GateAction};
use crate::guard::gate::{Gate, Met, Stopped, Unstopped};
use crate::record::{ProcessKey, SessionId, proto};
use crate::session::{self, Registry, authority};

/// The record of an exec follows within this time after the gate's event, ns: the
/// delay of the rings (`bpf::ring`), and a reserve.
pub(super) const CARRIED_NS: u64 = 3_000_000;
/// Number of approved commands that are remembered: a wrapper starts its program
/// again within moments.
const APPROVED: usize = 256;

/// The programs that wait at the gate.
#[derive(Debug)]
pub(super) struct ExecGate {
    pub(super) gate: Gate,
    /// Whether there is a person to ask.
    asks: bool,
    /// Stopped programs whose rules are known and not yet recorded.
    met: Vec<Waiting>,
    /// Processes that ended before they were judged, not yet recorded.
    gone: Vec<Header>,
    holds: Vec<Hold>,
    /// Approved commands. The same command in another program of the same process
    /// needs no second approval.
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

impl ExecGate {
    pub(super) fn new(gate: Gate, asks: bool) -> Self {
        Self {
            gate,
            asks,
            met: Vec::new(),
            gone: Vec::new(),
            holds: Vec::new(),
            approved: VecDeque::new(),
        }
    }

    /// Whether some programs need the next turn within a moment.
    pub(super) fn is_pressing(&self) -> bool {
        !(self.met.is_empty() && self.gone.is_empty())
    }

    /// Whether this process waits at the gate, or is known to have ended.
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.waiting().any(|held| held.header.pid == pid)
            || self.gone.iter().any(|header| header.pid == pid)
    }

    /// The waiting programs, as the kernel emitted them.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Held> {
        let met = self.met.iter().map(|waiting| &waiting.held);
        met.chain(self.holds.iter().map(|hold| &hold.waiting.held))
    }

    /// Whether the command, or one that starts it, was approved: npx(1) is asked for, and
    /// so is the program that it starts.
    fn is_approved(&self, waiting: &Waiting) -> bool {
        let process = session::key_of(&waiting.held.header);
        let command = &waiting.met.command;
        self.approved.iter().any(|(of, approved)| {
            *of == process && approved == command
                || approved.ends_with(command) && authority::descends(process.pid, *of)
        })
    }

    fn approve(&mut self, waiting: &Waiting) {
        if self.approved.len() == APPROVED {
            self.approved.pop_front();
        }
        let process = session::key_of(&waiting.held.header);
        self.approved
            .push_back((process, waiting.met.command.clone()));
    }

    /// Answers a program that waits since its daemon was killed, and of which nothing
    /// else is known: it gets the answer of an expired hold. `elsewhere`: the tags
    /// that hold the program, where they are not this recorder's own.
    pub(super) fn answer_unknown(
        &self,
        core: &mut Core,
        pid: u32,
        session: SessionNumber,
        elsewhere: Option<&Tags>,
    ) {
        let tags = elsewhere.unwrap_or(core.kernel.tags());
        let Some(stopped) = Stopped::held(tags, pid) else {
            return;
        };
        let action = match self.gate.answer {
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
        record(core, &header, action, gate);
    }

    /// Judges a stopped program, and releases it at once if it meets no rule.
    pub(super) fn judge(&mut self, core: &mut Core, held: Held) {
        core.is_unkept = true;
        let tags = core.kernel.tags();
        let Some((stopped, met)) = self.gate.judge(tags, &held) else {
            self.gone.push(held.header);
            return;
        };
        match met {
            Some(met) if met.action != GateAction::Allow => {
                self.met.push(Waiting { held, stopped, met });
            }
            // A program that has ended cannot be released; nothing is to be done for
            // it.
            _ => {
                stopped.let_go(tags);
            }
        }
    }

    /// The rule that a started program meets which the kernel did not stop.
    pub(super) fn judge_unstopped(
        &self,
        header: &Header,
        exe: &[u8],
        argv: &[u8],
    ) -> Option<(Header, Unstopped)> {
        if self.knows(header.pid) {
            return None;
        }
        let argv = argv.strip_suffix(b"\0").unwrap_or(argv);
        let argv: Vec<Vec<u8>> = argv.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
        let exe = exe.strip_suffix(b"\0").unwrap_or(exe);
        Some((*header, self.gate.judge_unstopped(exe, &argv)?))
    }

    /// Acts on programs that met a rule, once their exec is recorded, and on holds
    /// that expired. Events are carried until `carried`, ns.
    pub(super) fn on_tick(&mut self, core: &mut Core, carried: u64) {
        self.settle(core, |header| header.time + CARRIED_NS <= carried);
    }

    /// Acts on everything that a session left at the gate, after its last process
    /// ended.
    pub(super) fn on_session_end(&mut self, core: &mut Core, session: SessionNumber) {
        self.settle(core, |header| header.session == session);
    }

    fn settle(&mut self, core: &mut Core, is_recorded: impl Fn(&Header) -> bool) {
        let met = |it: &mut Waiting| is_recorded(&it.held.header);
        let ready: Vec<_> = self.met.extract_if(.., met).collect();
        for waiting in ready {
            self.act_on(core, waiting);
        }
        for header in self.gone.extract_if(.., |it| is_recorded(it)) {
            let gate = proto::GateAct {
                answer: proto::HoldAnswer::Ended.into(),
                ..proto::GateAct::default()
            };
            record(core, &header, proto::Action::Kill, gate);
        }
        self.settle_holds(core);
    }

    /// Ends holds that expired, or whose process has ended.
    fn settle_holds(&mut self, core: &mut Core) {
        let is_over =
            |hold: &mut Hold| hold.waiting.stopped.has_ended() || hold.deadline <= Instant::now();
        let over: Vec<_> = self.holds.extract_if(.., is_over).collect();
        for hold in over {
            if hold.waiting.stopped.has_ended() {
                let ended = Decision::on(&hold, proto::HoldAnswer::Ended);
                record_decision(core, &hold.waiting, proto::Action::Kill, ended);
            } else {
                let answer = self.gate.answer;
                self.answer(core, hold, answer, proto::HoldAnswer::TimedOut, None);
            }
        }
    }

    /// Closes the gate to answers: every held program gets the answer of an expired
    /// hold.
    pub(super) fn close(&mut self, core: &mut Core) {
        self.asks = false;
        self.on_tick(core, u64::MAX);
        for hold in std::mem::take(&mut self.holds) {
            let answer = self.gate.answer;
            self.answer(core, hold, answer, proto::HoldAnswer::Nobody, None);
        }
    }

    fn act_on(&mut self, core: &mut Core, waiting: Waiting) {
        match waiting.met.action {
            GateAction::Allow | GateAction::Alert => {
                waiting.stopped.let_go(core.kernel.tags());
                record_decision(core, &waiting, proto::Action::Alert, Decision::default());
            }
            GateAction::Kill => {
                waiting.stopped.end();
                record_decision(core, &waiting, proto::Action::Kill, Decision::default());
            }
            GateAction::Hold if self.is_approved(&waiting) => {
                waiting.stopped.let_go(core.kernel.tags());
            }
            GateAction::Hold => self.hold(core, waiting),
        }
    }

    fn hold(&mut self, core: &mut Core, waiting: Waiting) {
        let now = Instant::now();
        let hold = Hold {
            id: short_id(),
            waiting,
            deadline: now + self.gate.timeout,
            since: now,
        };
        if !self.asks {
            let answer = self.gate.answer;
            return self.answer(core, hold, answer, proto::HoldAnswer::Nobody, None);
        }
        let unanswered = Decision::on(&hold, proto::HoldAnswer::Unspecified);
        record_decision(core, &hold.waiting, proto::Action::Hold, unanswered);
        tracing::warn!(
            "held: {} (rule {}); `agent-recorder approve {}` or `deny {}` within {:?}",
            shown(&hold.waiting.met.argv),
            hold.waiting.met.rule,
            hold.id,
            hold.id,
            self.gate.timeout,
        );
        self.holds.push(hold);
    }

    fn answer(
        &mut self,
        core: &mut Core,
        hold: Hold,
        answer: Answer,
        by: proto::HoldAnswer,
        uid: Option<u32>,
    ) {
        core.is_unkept = true;
        let action = match answer {
            Answer::Approve => {
                self.approve(&hold.waiting);
                hold.waiting.stopped.let_go(core.kernel.tags());
                proto::Action::Hold
            }
            Answer::Deny => {
                hold.waiting.stopped.end();
                proto::Action::Kill
            }
        };
        let decision = Decision {
            decided_by: uid,
            ..Decision::on(&hold, by)
        };
        record_decision(core, &hold.waiting, action, decision);
    }

    /// Applies a person's answer. Returns the arguments of the program.
    ///
    /// # Errors
    ///
    /// No held program has this name.
    pub(super) fn decide(
        &mut self,
        core: &mut Core,
        name: &str,
        answer: Answer,
        uid: u32,
    ) -> Result<Vec<Vec<u8>>, String> {
        let Some(position) = self.holds.iter().position(|hold| hold.id == name) else {
            return Err(format!("nothing is held by the name {name}"));
        };
        let hold = self.holds.remove(position);
        let by = match answer {
            Answer::Approve => proto::HoldAnswer::Approved,
            Answer::Deny => proto::HoldAnswer::Denied,
        };
        let argv = hold.waiting.met.argv.clone();
        self.answer(core, hold, answer, by, Some(uid));
        Ok(argv)
    }

    /// The held programs, for operators.
    pub(super) fn holds(&self, sessions: &Registry) -> Vec<proto::HoldInfo> {
        let info = |hold: &Hold| proto::HoldInfo {
            id: hold.id.clone(),
            session_id: sessions
                .get(hold.waiting.held.header.session)
                .map(|session| session.id.to_bytes())
                .unwrap_or_default(),
            pid: hold.waiting.held.header.pid,
            rule: hold.waiting.met.rule.clone(),
            argv: hold.waiting.met.argv.clone(),
            left_ns: nanoseconds(hold.deadline.saturating_duration_since(Instant::now())),
        };
        self.holds.iter().map(info).collect()
    }
}

/// The fields of a record about a hold.
#[derive(Debug, Default)]
struct Decision {
    hold: String,
    answer: proto::HoldAnswer,
    decided_by: Option<u32>,
    held_ns: u64,
}

impl Decision {
    fn on(hold: &Hold, answer: proto::HoldAnswer) -> Self {
        Self {
            hold: hold.id.clone(),
            answer,
            decided_by: None,
            held_ns: nanoseconds(hold.since.elapsed()),
        }
    }
}

fn record_decision(core: &mut Core, waiting: &Waiting, action: proto::Action, decision: Decision) {
    let gate = proto::GateAct {
        rule: waiting.met.rule.clone(),
        argv: waiting.met.argv.clone(),
        hold: decision.hold,
        answer: decision.answer.into(),
        decided_by_uid: decision.decided_by,
        held_ns: decision.held_ns,
    };
    record(core, &waiting.held.header, action, gate);
}

/// Records a program that met a rule and runs already.
pub(super) fn record_unstopped(core: &mut Core, header: &Header, program: Unstopped) {
    let gate = proto::GateAct {
        rule: program.rule,
        argv: program.argv,
        ..proto::GateAct::default()
    };
    record(core, header, proto::Action::Alert, gate);
}

fn record(core: &mut Core, header: &Header, action: proto::Action, gate: proto::GateAct) {
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
    core.record_enforcement(header, enforcement);
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A name that is short enough to type and that no other hold has: the random end of
/// a UUIDv7.
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
