//! Going on where a daemon before this one was killed: its kernel programs are
//! still at their hooks, and have counted, struck and told all the while.
//!
//! Three sources, in this order: the checkpoint, which was written after each
//! batch; the records behind it, of a batch that was stored and not yet taken
//! into it; and the rings, with all that happened since. What left the rings
//! and is in none of them is lost, and told as lost.
//!
//! Not here: how such a checkpoint and such programs come about (`continuity`).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::{Duration, Instant};

use agent_recorder_abi::Pod as _;
use agent_recorder_abi::event::Kind;
use agent_recorder_abi::held::Held;
use agent_recorder_abi::state::SessionNumber;

use super::adopt::match_process;
use super::watch::CANARY;
use super::{Error, Recorder, tagged};
use crate::fault;
use crate::guard::gate::Stopped;
use crate::kernel::{self, Condemned, decode};
use crate::record::proto::record::Body;
use crate::record::{Seq, proto};
use crate::session::agents::RuleSet;
use crate::session::{Begin, authority};
use crate::spool::{Item, Store};

/// Events by which the next recorder knows whose records follow.
pub(super) const STARTS: &str = "recorder_start";
pub(super) const GOES_ON: &str = "recorder_goes_on";
pub(super) const REBUILDS: &str = "recorder_rebuilds";

/// So often, and so long, the rings are emptied to see what of a kind never came out of them.
const ROUNDS: usize = 8;
const ROUNDS_WITHIN: Duration = Duration::from_secs(2);

impl Recorder {
    /// Takes over, with the programs that were left.
    pub(super) fn go_on(
        &mut self,
        mut left: proto::Checkpoint,
        rules: &RuleSet,
    ) -> Result<(), Error> {
        let members = tagged(self.kernel.tags())?;
        let ended = self.catch_up(&mut left, &members)?;
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
        self.tell(GOES_ON, &format!("{sessions} sessions"));
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

    /// Takes in the records that are behind the checkpoint. The sessions that ended in them.
    pub(super) fn catch_up(
        &mut self,
        left: &mut proto::Checkpoint,
        members: &[(u32, SessionNumber)],
    ) -> Result<HashSet<SessionNumber>, Error> {
        let mut ended = HashSet::new();
        let stream = self.spool.stream_id();
        let is_behind = left.stream_id == stream.to_bytes() && left.seq < self.spool.last_seq().0;
        let Some(directory) = self.spool.dir().parent().filter(|_| is_behind) else {
            return Ok(ended);
        };
        let mut cursor = Store::open(directory)?.cursor(stream)?;
        cursor.seek(Seq(left.seq).next())?;
        let mut unnumbered = Unnumbered::default();
        let mut whose = Whose::default();
        while let Some(item) = cursor.next()? {
            if let Item::Record { record, .. } = item
                && whose.is_of_these_programs(&record)
            {
                unnumbered.take_in(&record, left);
                ended.extend(take_in(&record, left));
            }
        }
        unnumbered.number(members, left);
        left.sessions
            .retain(|session| session.number != 0 && !ended.contains(&session.number));
        Ok(ended)
    }

    /// Carries all that the rings hold, and finds out what left them and went nowhere.
    fn empty_rings(&mut self) -> Result<(), Error> {
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let placed = self.kernel.placed()?;
            self.pass_gate()?;
            self.carry_all()?;
            let mut grew = false;
            for (kind, placed) in placed.into_iter().enumerate() {
                let came = self.delivered[kind] + self.watch.events()[kind];
                let missing = placed.saturating_sub(came);
                // Less than there is, where events are made meanwhile: then the next round finds more.
                grew |= missing > self.loss.crashed[kind];
                self.loss.crashed[kind] = self.loss.crashed[kind].max(missing);
            }
            if !grew || begun.elapsed() > ROUNDS_WITHIN {
                break;
            }
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
    pub(super) fn find_in_batch(&mut self) -> Result<(), Error> {
        let Some(returning) = &self.returning else {
            return Ok(());
        };
        let events = || self.batch.iter().filter_map(|bytes| decode(bytes).ok());
        let begun: HashSet<_> = events()
            .filter(|event| matches!(event.body, kernel::Body::Session(_)))
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

    pub(super) fn end_empty(&mut self) -> Result<(), Error> {
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
    pub(super) fn strike_condemned(&mut self) -> Result<(), Error> {
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
pub(super) struct Returning {
    rules: RuleSet,
    /// Sessions that ended; their kernel's part may still be there.
    ended: HashSet<SessionNumber>,
}

/// Tells the records of the programs that were left from those of a recorder
/// that had its own meanwhile, as one does that finds no bpffs.
#[derive(Default)]
struct Whose {
    has_its_own: bool,
}

impl Whose {
    /// Of the records behind a checkpoint, one after the other.
    fn is_of_these_programs(&mut self, record: &proto::Record) -> bool {
        if let Some(Body::StreamEvent(told)) = &record.body {
            match told.event.as_str() {
                STARTS => self.has_its_own = true,
                GOES_ON | REBUILDS => self.has_its_own = false,
                _ => {}
            }
        }
        !self.has_its_own
    }
}

/// Sessions that began behind the checkpoint: records do not say the kernel's
/// numbers of them, which their processes have.
#[derive(Default)]
struct Unnumbered {
    processes: BTreeMap<Vec<u8>, BTreeSet<u32>>,
}

impl Unnumbered {
    fn take_in(&mut self, record: &proto::Record, left: &mut proto::Checkpoint) {
        let pid = record.process.as_ref().map(|process| process.pid);
        if let Some(Body::SessionStart(start)) = &record.body
            && !left
                .sessions
                .iter()
                .any(|session| session.session_id == record.session_id)
        {
            left.sessions.push(proto::KeptSession {
                session_id: record.session_id.clone(),
                agent: start.agent.clone(),
                rule: start.rule.clone(),
                name: start.name.clone(),
                origin: start.origin,
                root: pid.unwrap_or_default(),
                started_boot_ns: record.time_boot_ns,
                started_unix_ns: record.time_unix_ns,
                processes: 1,
                ..proto::KeptSession::default()
            });
            self.processes
                .insert(record.session_id.clone(), BTreeSet::new());
        }
        if let Some(processes) = self.processes.get_mut(&record.session_id) {
            processes.extend(pid);
            if let Some(Body::Fork(fork)) = &record.body {
                processes.insert(fork.child_pid);
            }
        }
    }

    /// Of one whose processes have all ended nothing can come any more but what
    /// the rings hold; that is then a session of its own.
    fn number(&self, tagged: &[(u32, SessionNumber)], left: &mut proto::Checkpoint) {
        for (id, processes) in &self.processes {
            let mut members = tagged.iter().filter(|(pid, _)| processes.contains(pid));
            let mut sessions = left.sessions.iter_mut();
            let session = sessions.find(|session| session.session_id == *id);
            if let (Some(session), Some(&(_, number))) = (session, members.next()) {
                session.number = number;
            }
        }
    }
}

/// Adds a record to what is known; the session that it ends.
fn take_in(record: &proto::Record, left: &mut proto::Checkpoint) -> Option<SessionNumber> {
    let kind = record.body.as_ref().and_then(event_of);
    if let Some(count) = kind.and_then(|kind| left.delivered.get_mut(kind as usize)) {
        *count += 1;
    }
    if let Some(Body::Loss(loss)) = &record.body {
        take_in_loss(loss, left);
    }
    let mut sessions = left.sessions.iter_mut();
    let session = sessions.find(|session| session.session_id == record.session_id)?;
    session.records += 1;
    match record.body.as_ref()? {
        Body::SessionStart(_) => session.start = None,
        Body::SessionEnd(_) => return Some(session.number),
        Body::Fork(_) => session.processes += 1,
        Body::Exec(exec) if exec.error == 0 => session.execs += 1,
        Body::File(file) if file.op() == proto::FileOp::Delete && file.error == 0 => {
            session.files_destroyed += 1;
        }
        _ => {}
    }
    None
}

/// What was told behind the checkpoint is not told again. Troubles are, which are few.
fn take_in_loss(loss: &proto::Loss, left: &mut proto::Checkpoint) {
    if loss.stage == "preempted" {
        left.told_skipped += loss.count;
        return;
    }
    let told = match loss.stage.as_str() {
        "ring_priority" | "ring_bulk" => &mut left.told_lost,
        "crash" => &mut left.crashed,
        _ => return,
    };
    for counted in &loss.kinds {
        let mut kinds = Kind::ALL.iter();
        let kind = kinds.find(|kind| kind.name() == counted.kind);
        if let Some(count) = kind.and_then(|&kind| told.get_mut(kind as usize)) {
            *count += counted.count;
        }
    }
}

/// The kind of the event that a record was made of, where that was one event,
/// which made no other record of this kind. Others are told as lost, though
/// they are not.
fn event_of(body: &Body) -> Option<Kind> {
    Some(match body {
        Body::Exec(_) => Kind::Exec,
        Body::Exit(_) => Kind::Exit,
        Body::Fork(_) => Kind::Fork,
        Body::Network(_) => Kind::Network,
        // Announced, and given up at its session's end.
        Body::File(file) if file.error == libc::EINPROGRESS.cast_unsigned() => return None,
        Body::File(file) if file.via() == proto::Via::IoUring => return None,
        Body::File(file) => match file.op() {
            proto::FileOp::Delete | proto::FileOp::Rmdir => Kind::Delete,
            proto::FileOp::Open => Kind::Open,
            _ => Kind::File,
        },
        _ => return None,
    })
}

/// Of a kernel with other kinds, those that both know.
pub(super) fn counts<const COUNT: usize>(kept: &[u64]) -> [u64; COUNT] {
    std::array::from_fn(|index| kept.get(index).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use agent_recorder_abi::event::KINDS;

    use super::*;

    fn record(session: u8, pid: u32, body: Body) -> proto::Record {
        proto::Record {
            session_id: vec![session; 16],
            process: Some(proto::Process {
                pid,
                ..proto::Process::default()
            }),
            body: Some(body),
            ..proto::Record::default()
        }
    }

    fn start(session: u8, pid: u32) -> proto::Record {
        let start = proto::SessionStart {
            agent: "ours".to_owned(),
            ..proto::SessionStart::default()
        };
        record(session, pid, Body::SessionStart(start))
    }

    fn fork(session: u8, pid: u32, child_pid: u32) -> proto::Record {
        let fork = proto::Fork {
            child_pid,
            ..proto::Fork::default()
        };
        record(session, pid, Body::Fork(fork))
    }

    fn taken_in(records: &[proto::Record], left: &mut proto::Checkpoint) -> Unnumbered {
        let mut unnumbered = Unnumbered::default();
        for record in records {
            unnumbered.take_in(record, left);
            take_in(record, left);
        }
        unnumbered
    }

    #[test]
    fn a_session_that_began_behind_the_checkpoint_is_known_by_its_processes() {
        let mut left = proto::Checkpoint::default();
        let records = [start(1, 10), start(2, 20), fork(2, 20, 21), start(3, 30)];
        let unnumbered = taken_in(&records, &mut left);
        unnumbered.number(&[(10, 5), (21, 6), (99, 7)], &mut left);
        let found: Vec<_> = left
            .sessions
            .iter()
            .map(|it| (it.number, it.root, it.records, it.processes))
            .collect();
        assert_eq!(found, [(5, 10, 1, 1), (6, 20, 2, 2), (0, 30, 1, 1)]);
    }

    #[test]
    fn records_of_a_recorder_with_programs_of_its_own_are_left_out() {
        let told = |event: &str| {
            let event = proto::StreamEvent {
                event: event.to_owned(),
                ..proto::StreamEvent::default()
            };
            record(0, 1, Body::StreamEvent(event))
        };
        let mut whose = Whose::default();
        let mut is_of_these = |record: &proto::Record| whose.is_of_these_programs(record);
        assert!(is_of_these(&fork(1, 10, 11)));
        // With programs of its own, to its end.
        assert!(!is_of_these(&told(STARTS)));
        assert!(!is_of_these(&start(2, 20)));
        // Killed before it went on; then one that did.
        assert!(!is_of_these(&told(STARTS)));
        assert!(!is_of_these(&told(STARTS)));
        assert!(is_of_these(&told(GOES_ON)));
        assert!(is_of_these(&fork(1, 10, 12)));
    }

    #[test]
    fn records_behind_the_checkpoint_are_events_that_came() {
        let known = proto::KeptSession {
            number: 4,
            session_id: vec![1; 16],
            start: Some(proto::SessionStart::default()),
            ..proto::KeptSession::default()
        };
        let mut left = proto::Checkpoint {
            delivered: vec![0; KINDS],
            sessions: vec![known],
            ..proto::Checkpoint::default()
        };
        let delete = proto::File {
            op: proto::FileOp::Delete.into(),
            ..proto::File::default()
        };
        let by_ring = proto::File {
            via: proto::Via::IoUring.into(),
            ..delete.clone()
        };
        let records = [
            start(1, 10),
            fork(1, 10, 11),
            record(1, 11, Body::File(delete)),
            record(1, 11, Body::File(by_ring)),
            record(1, 11, Body::Exit(proto::Exit::default())),
        ];
        taken_in(&records, &mut left);
        let session = &left.sessions[0];
        assert_eq!(session.start, None);
        assert_eq!(
            (session.records, session.processes, session.files_destroyed),
            (5, 1, 2)
        );
        let came = |kind| left.delivered[kind as usize];
        assert_eq!(
            (came(Kind::Fork), came(Kind::Delete), came(Kind::Exit)),
            (1, 1, 1)
        );
        assert_eq!(left.delivered.iter().sum::<u64>(), 3);
    }
}
