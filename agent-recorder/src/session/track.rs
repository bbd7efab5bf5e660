//! Turns one event into its records: here events meet sessions and processes.
//!
//! Not here: events of files, whose halves are joined first (`file_events`).

mod file_events;

use std::collections::{BTreeSet, HashMap};

use agent_recorder_abi::event::{
    CONTROL_NESTED, ControlBody, ControlOp, ExecBody, ExitBody, FILE_PENDING, ForkBody, GuardBody,
    Header, SessionBody,
};
use agent_recorder_abi::state::SessionNumber;

use super::authority;
use super::clock::{Clock, Jump, boot_ns};
use super::derived::Derivation;
use super::observed::Observations;
use super::path::Resolver;
use super::process::{self, Processes};
use super::registry::{Registry, Session, Totalled, Totals};
use super::translate;
use crate::bpf::{Body, Event};
use crate::record::{ProcessKey, SessionId, proto};

/// A session that user space begins.
#[derive(Clone, Debug)]
pub struct Begin {
    /// Its number in the kernel, with the top bit set.
    pub number: SessionNumber,
    /// The agent's name.
    pub agent: String,
    /// The rule; `run` for the command.
    pub rule: String,
    /// Name that its starter gave it.
    pub name: String,
    /// How it began.
    pub origin: proto::Origin,
    /// Its first process.
    pub root: u32,
    /// The authority of its starter.
    pub authority: proto::Authority,
}

/// Actions of the recorder beyond storing records.
#[derive(Clone, Debug)]
pub enum Notice {
    /// The process of the header met the guard's limit.
    Limit(Header, GuardBody),
    /// Its last process has ended.
    Empty(SessionNumber),
}

/// The names of a rule in records.
#[derive(Clone, Debug)]
pub struct RuleName {
    /// The agent.
    pub agent: String,
    /// `kind:pattern`.
    pub rule: String,
}

/// Joins events with sessions and processes.
#[derive(Debug)]
pub struct Tracker {
    /// The sessions.
    pub registry: Registry,
    processes: Processes,
    resolver: Resolver,
    pub(super) observations: Observations,
    /// Sessions whose first event is still to come.
    pub(super) unstarted: HashMap<SessionNumber, proto::SessionStart>,
    /// Names of rules, in the order of their numbers, which begin at 1.
    rules: Vec<RuleName>,
    clock: Clock,
    host: Vec<u8>,
    boot_id: String,
    profile: String,
    /// Announcements of io_uring without room: these requests count as lost.
    pub pending_lost: u64,
    derivation: Derivation,
    /// Paths at which sessions changed files' contents, or which they gave to files.
    written: Vec<(SessionNumber, Vec<u8>)>,
}

impl Tracker {
    /// A tracker without any session. `rules` are in the order of their numbers.
    pub fn new(rules: Vec<RuleName>, derivation: Derivation, profile: &str) -> Self {
        let read = |path: &str| {
            std::fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        Self {
            registry: Registry::default(),
            processes: Processes::default(),
            resolver: Resolver::default(),
            observations: Observations::default(),
            unstarted: HashMap::new(),
            rules,
            clock: Clock::now(),
            host: read("/proc/sys/kernel/hostname").into_bytes(),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            profile: profile.to_owned(),
            pending_lost: 0,
            derivation,
            written: Vec::new(),
        }
    }

    /// Takes the paths that sessions wrote since the last call.
    pub fn take_written(&mut self) -> Vec<(SessionNumber, Vec<u8>)> {
        std::mem::take(&mut self.written)
    }

    /// The record of an heir in the writer's session, which may have ended.
    pub fn heir(
        &mut self,
        header: &Header,
        writer: (SessionNumber, SessionId),
        exec: &proto::Exec,
        heir: proto::Heir,
    ) -> proto::Record {
        let key = process::key_of(header);
        self.processes.get(key).became(exec);
        let process = self.processes.describe(header);
        if heir.joined.is_empty() {
            self.processes.ended(key);
        }
        let (number, id) = writer;
        let body = proto::record::Body::Heir(heir);
        proto::Record {
            session_id: id.to_bytes(),
            ..self.record(number, header.time, Some(process), body)
        }
    }

    /// Begins a batch: facts about directories and clocks are read again. Returns the
    /// step of the wall clock since the last batch, if there was one.
    pub fn begin_batch(&mut self) -> Option<Jump> {
        self.resolver.links.forget_found();
        let before = std::mem::replace(&mut self.clock, Clock::now());
        self.clock.jump_since(before)
    }

    /// Begins a session. Its first record comes with its first event, because only
    /// that has the first process's exact start time.
    pub fn begin_session(&mut self, begin: Begin) -> SessionId {
        let id = SessionId::generate();
        self.processes.announce(begin.root);
        let now = boot_ns();
        let start = proto::SessionStart {
            agent: begin.agent.clone(),
            rule: begin.rule.clone(),
            authority: Some(begin.authority),
            name: begin.name.clone(),
            origin: begin.origin.into(),
            host: self.host.clone(),
            boot_id: self.boot_id.clone(),
            profile: self.profile.clone(),
        };
        self.registry.begin(Session {
            id,
            number: begin.number,
            agent: begin.agent,
            rule: begin.rule,
            name: begin.name,
            origin: begin.origin,
            root: begin.root,
            started_boot_ns: now,
            started_unix_ns: self.clock.unix_ns(now),
            ended_unix_ns: None,
            live: [begin.root].into(),
            left: Default::default(),
            totals: Totals {
                processes: 1,
                ..Totals::default()
            },
            killed: false,
            cause: String::new(),
            struck: Default::default(),
            condemned: false,
            frozen: false,
            frozen_cgroups: BTreeSet::new(),
            sample: Default::default(),
        });
        self.unstarted.insert(begin.number, start);
        id
    }

    fn start_record(&mut self, header: &Header, records: &mut Vec<proto::Record>) {
        if let Some(start) = self.unstarted.remove(&header.session) {
            self.push(header, proto::record::Body::SessionStart(start), records);
        }
    }

    /// Makes a session's first record now, because the session may be idle. The
    /// record names no process, for /proc has start times in clock ticks only.
    pub fn started(&mut self, number: SessionNumber) -> Option<proto::Record> {
        let start = self.unstarted.remove(&number)?;
        Some(self.record(
            number,
            boot_ns(),
            None,
            proto::record::Body::SessionStart(start),
        ))
    }

    /// Removes a process that could not be put into a session. True when it was the
    /// last one.
    pub fn leave(&mut self, number: SessionNumber, pid: u32) -> bool {
        self.registry.get_mut(number).is_some_and(|session| {
            session.live.remove(&pid);
            session.live.is_empty()
        })
    }

    /// Adds a process that user space put into a session.
    pub fn join(&mut self, number: SessionNumber, pid: u32) {
        if let Some(session) = self.registry.get_mut(number)
            && session.live.insert(pid)
        {
            session.totals.processes += 1;
        }
    }

    /// Ends a session and returns its last record.
    pub fn end_session(
        &mut self,
        number: SessionNumber,
        reason: proto::EndReason,
        kernel: Totalled,
    ) -> Vec<proto::Record> {
        let now = boot_ns();
        let mut records: Vec<_> = self.started(number).into_iter().collect();
        let Some(session) = self.registry.get_mut(number) else {
            return records;
        };
        let reason = if session.killed {
            proto::EndReason::Killed
        } else {
            reason
        };
        let totals = proto::Totals {
            // The count includes this record.
            records: session.totals.records + 1,
            processes: session.totals.processes,
            execs: session.totals.execs,
            files_destroyed: session.totals.files_destroyed,
            duration_ns: now.saturating_sub(session.started_boot_ns),
            produced: kernel.produced,
            delivered: kernel.delivered,
            lost: kernel.lost,
            guard_counted: kernel.guard_counted,
        };
        let body = proto::record::Body::SessionEnd(proto::SessionEnd {
            reason: reason.into(),
            totals: Some(totals),
        });
        records.push(self.record(number, now, None, body));
        self.registry.end(number, self.clock.unix_ns(now));
        records
    }

    /// An enforcement of the guard as a record.
    pub fn enforcement(
        &mut self,
        header: &Header,
        enforcement: proto::Enforcement,
    ) -> proto::Record {
        let process = self.processes.describe(header);
        self.record(
            header.session,
            boot_ns(),
            Some(process),
            proto::record::Body::Enforcement(enforcement),
        )
    }

    /// A record about the stream itself.
    pub fn stream_record(&self, body: proto::record::Body) -> proto::Record {
        let now = boot_ns();
        proto::Record {
            time_boot_ns: now,
            time_unix_ns: self.clock.unix_ns(now),
            body: Some(body),
            ..proto::Record::default()
        }
    }

    /// Appends the records of one event, and the actions that follow.
    pub fn absorb(
        &mut self,
        event: &Event<'_>,
        records: &mut Vec<proto::Record>,
        notices: &mut Vec<Notice>,
    ) {
        let header = &event.header;
        if let Body::Session(body) = event.body {
            self.session_began(header, body);
        }
        self.start_record(header, records);
        match &event.body {
            Body::Session(_) => {}
            Body::Fork(body) => {
                let body = self.forked(header, *body);
                self.push(header, body, records);
            }
            Body::Exec {
                body,
                exe,
                filename,
                cwd,
                argv,
            } => {
                let body = self.execed(header, body, exe, filename, cwd, argv);
                self.push(header, body, records);
            }
            Body::Exit(body) => self.exited(header, *body, records, notices),
            Body::File(file) if file.body.marks & FILE_PENDING != 0 => {
                if !self.observations.announce(header, file) {
                    self.pending_lost += 1;
                }
            }
            Body::Object(object) => self.observations.saw(header, object),
            Body::File(file) => self.file(header, file, records),
            Body::Uring(result) => self.completed(header, result, records),
            Body::Network(network) => {
                let body = proto::record::Body::Network(translate::network(network));
                self.push(header, body, records);
            }
            Body::Control(body) => {
                if !self.is_among_themselves(header, body) {
                    let body = proto::record::Body::Control(translate::control(body));
                    self.push(header, body, records);
                }
            }
            Body::Dns { server, payload } => {
                for question in translate::questions(server, payload) {
                    self.push(header, proto::record::Body::Dns(question), records);
                }
            }
            // For the judge, to whom the recorder hands it; the act has its own record.
            Body::Counted(_) => {}
            Body::Guard(body) => {
                if let Some(session) = self.registry.get_mut(header.session) {
                    session.condemned |= body.killed != 0 && body.judged == 0;
                }
                notices.push(Notice::Limit(*header, *body));
            }
        }
    }

    /// Whether the event is a signal between two members of a session, which is
    /// ordinary work.
    fn is_among_themselves(&mut self, header: &Header, body: &ControlBody) -> bool {
        let Ok(target) = u32::try_from(body.target) else {
            return false;
        };
        body.op == ControlOp::Signal as u32
            && body.marks & CONTROL_NESTED == 0
            && self
                .registry
                .get_mut(header.session)
                .is_some_and(|session| session.has(target, header.time))
    }

    fn session_began(&mut self, header: &Header, body: SessionBody) {
        let rule = usize::try_from(body.rule)
            .ok()
            .and_then(|number| self.rules.get(number.checked_sub(1)?));
        let (agent, rule) = rule.map_or_else(
            || ("unknown".to_owned(), format!("number:{}", body.rule)),
            |rule| (rule.agent.clone(), rule.rule.clone()),
        );
        let begin = Begin {
            number: header.session,
            agent,
            rule,
            name: String::new(),
            origin: proto::Origin::Rule,
            root: header.pid,
            authority: authority::of_process(header.pid),
        };
        self.begin_session(begin);
    }

    fn forked(&mut self, header: &Header, body: ForkBody) -> proto::record::Body {
        let child = ProcessKey {
            pid: body.child_pid,
            start_time: body.child_start_time,
        };
        self.processes.forked(process::key_of(header), child);
        self.join(header.session, child.pid);
        proto::record::Body::Fork(proto::Fork {
            child_pid: body.child_pid,
            child_start_time_ns: body.child_start_time,
            child_ppid: body.child_ppid,
        })
    }

    fn execed(
        &mut self,
        header: &Header,
        body: &ExecBody,
        exe: &[u8],
        filename: &[u8],
        cwd: &[u8],
        argv: &[u8],
    ) -> proto::record::Body {
        let mut exec = translate::exec(body, exe, filename, cwd, argv);
        if body.error != 0 {
            if let Some(program) = self.observations.take_program(header) {
                translate::set_program(&mut exec, &program);
            }
        } else {
            self.observations.forget(header);
            self.processes.get(process::key_of(header)).became(&exec);
            if let Some(session) = self.registry.get_mut(header.session) {
                session.totals.execs += 1;
            }
        }
        let rule = usize::try_from(body.rule)
            .ok()
            .and_then(|number| self.rules.get(number.checked_sub(1)?));
        if let Some(rule) = rule {
            exec.agent.clone_from(&rule.agent);
        }
        proto::record::Body::Exec(exec)
    }

    fn exited(
        &mut self,
        header: &Header,
        body: ExitBody,
        records: &mut Vec<proto::Record>,
        notices: &mut Vec<Notice>,
    ) {
        let key = process::key_of(header);
        // The status has the encoding of wait(2).
        let exit = proto::Exit {
            code: (body.status >> 8) & 0xff,
            signal: body.status & 0x7f,
            core_dumped: body.status & 0x80 != 0,
        };
        let was_killed = exit.signal == libc::SIGKILL.cast_unsigned();
        self.push(header, proto::record::Body::Exit(exit), records);
        self.processes.ended(key);
        if let Some(session) = self.registry.get_mut(header.session) {
            session.live.remove(&header.pid);
            session.left(header.pid, header.time);
            if session.condemned && was_killed {
                session.struck.insert(header.pid);
            }
            if session.live.is_empty() {
                self.give_up_pending(header.session, records);
                notices.push(Notice::Empty(header.session));
            }
        }
    }

    fn push(
        &mut self,
        header: &Header,
        body: proto::record::Body,
        records: &mut Vec<proto::Record>,
    ) {
        let process = self.processes.describe(header);
        let also = self.derivation.records_of(&body, &process);
        let bodies = std::iter::once(body).chain(also);
        records.extend(
            bodies
                .map(|body| self.record(header.session, header.time, Some(process.clone()), body)),
        );
    }

    fn record(
        &mut self,
        number: SessionNumber,
        boot_ns: u64,
        process: Option<proto::Process>,
        body: proto::record::Body,
    ) -> proto::Record {
        let session = self.registry.get_mut(number).map(|session| {
            session.totals.records += 1;
            session.id
        });
        proto::Record {
            session_id: session.map(SessionId::to_bytes).unwrap_or_default(),
            time_unix_ns: self.clock.unix_ns(boot_ns),
            time_boot_ns: boot_ns,
            process,
            body: Some(body),
            ..proto::Record::default()
        }
    }
}
