//! The records after the checkpoint: a recorder that was killed had stored them, and
//! had not yet written the checkpoint that contains them.
//!
//! Not here: the use of the completed checkpoint (`same_programs`, `new_programs`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use agent_recorder_abi::event::Kind;
use agent_recorder_abi::state::SessionNumber;

use crate::record::proto::record::Body;
use crate::record::{Facts, LossStage, RecorderEvent, Seq, proto};
use crate::spool::{self, Item, Spool, Store};

/// Adds the records after the checkpoint to it. Returns the sessions that ended in
/// them. `members`: the tagged processes, each with its session.
pub(in crate::daemon) fn catch_up(
    spool: &Spool,
    left: &mut proto::Checkpoint,
    members: &[(u32, SessionNumber)],
) -> Result<HashSet<SessionNumber>, spool::Error> {
    let mut ended = HashSet::new();
    let stream = spool.stream_id();
    let is_behind = left.stream_id == stream.to_bytes() && left.seq < spool.last_seq().0;
    let Some(directory) = spool.dir().parent().filter(|_| is_behind) else {
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

/// Distinguishes records of the programs that were left from those of a recorder that
/// loaded its own meanwhile, as one does that finds no bpffs.
#[derive(Default)]
struct Whose {
    has_its_own: bool,
}

impl Whose {
    /// Whether a record is of the programs that were left. Records are passed in
    /// their order.
    fn is_of_these_programs(&mut self, record: &proto::Record) -> bool {
        if let Some(Body::StreamEvent(told)) = &record.body {
            match RecorderEvent::from_name(&told.event) {
                Some(RecorderEvent::Start) => self.has_its_own = true,
                Some(RecorderEvent::GoesOn | RecorderEvent::Rebuilds) => self.has_its_own = false,
                _ => {}
            }
        }
        !self.has_its_own
    }
}

/// Sessions that began after the checkpoint. Their records lack the kernel's session
/// numbers, which the tags of their processes have.
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
            left.sessions.push(proto::SessionSnapshot {
                session_id: record.session_id.clone(),
                agent: start.agent.clone(),
                rule: start.rule.clone(),
                name: start.name.clone(),
                origin: start.origin,
                root: pid.unwrap_or_default(),
                started_boot_ns: record.time_boot_ns,
                started_unix_ns: record.time_unix_ns,
                processes: 1,
                ..proto::SessionSnapshot::default()
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

    /// Finds a session's number by a tagged process. If all its processes have ended,
    /// only events in the rings can follow, and those become a session of their own.
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

/// Adds a record to the checkpoint. Returns the session that the record ends.
fn take_in(record: &proto::Record, left: &mut proto::Checkpoint) -> Option<SessionNumber> {
    // An event whose record does not name its kind is recorded as lost, though it is
    // not.
    let event = record.body.as_ref().and_then(|body| Facts::of(body).event);
    if let Some(count) = event.and_then(|kind| left.delivered.get_mut(kind as usize)) {
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

/// Adds a loss that was recorded after the checkpoint, so that it is recorded once.
/// Troubles, which are few, are recorded again.
fn take_in_loss(loss: &proto::Loss, left: &mut proto::Checkpoint) {
    let told = match LossStage::from_name(&loss.stage) {
        Some(LossStage::Preempted) => {
            left.recorded_skipped += loss.count;
            return;
        }
        Some(LossStage::RingPriority | LossStage::RingBulk) => &mut left.recorded_lost,
        Some(LossStage::Crash) => &mut left.crashed,
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

/// Counts by kind. Where the other recorder had other kinds, the common ones remain.
pub(in crate::daemon) fn counts<const COUNT: usize>(kept: &[u64]) -> [u64; COUNT] {
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
        let told = |event: RecorderEvent| {
            let event = proto::StreamEvent {
                event: event.name().to_owned(),
                ..proto::StreamEvent::default()
            };
            record(0, 1, Body::StreamEvent(event))
        };
        let mut whose = Whose::default();
        let mut is_of_these = |record: &proto::Record| whose.is_of_these_programs(record);
        assert!(is_of_these(&fork(1, 10, 11)));
        // A recorder with programs of its own, from start to end.
        assert!(!is_of_these(&told(RecorderEvent::Start)));
        assert!(!is_of_these(&start(2, 20)));
        // A recorder that was killed before it took over; then one that took over.
        assert!(!is_of_these(&told(RecorderEvent::Start)));
        assert!(!is_of_these(&told(RecorderEvent::Start)));
        assert!(is_of_these(&told(RecorderEvent::GoesOn)));
        assert!(is_of_these(&fork(1, 10, 12)));
    }

    #[test]
    fn records_behind_the_checkpoint_are_events_that_came() {
        let known = proto::SessionSnapshot {
            number: 4,
            session_id: vec![1; 16],
            start: Some(proto::SessionStart::default()),
            ..proto::SessionSnapshot::default()
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
            record(1, 11, Body::Control(proto::ControlAct::default())),
            record(1, 11, Body::Exit(proto::Exit::default())),
        ];
        taken_in(&records, &mut left);
        let session = &left.sessions[0];
        assert_eq!(session.start, None);
        assert_eq!(
            (session.records, session.processes, session.files_destroyed),
            (6, 1, 2)
        );
        let came = |kind| left.delivered[kind as usize];
        assert_eq!(
            (came(Kind::Fork), came(Kind::Delete), came(Kind::Exit)),
            (1, 1, 1)
        );
        assert_eq!(came(Kind::Control), 1);
        assert_eq!(left.delivered.iter().sum::<u64>(), 4);
    }
}
