//! How a recorder begins, with the kernel programs that another left or with
//! its own; what it leaves at every moment for the one after it; how it ends.
//!
//! Not here: taking over (`same_programs`, `new_programs`), and the files (`checkpoint`).

pub(in crate::daemon) mod adopt;
mod checkpoint;
pub(in crate::daemon) mod checkpoint_tail;
mod new_programs;
pub(in crate::daemon) mod same_programs;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use agent_recorder_abi::Pod as _;

use self::checkpoint::Keeper;
use crate::bpf::{self, Kernel, Pins, Previous, Rings};
use crate::daemon::{Error, Recorder, Setup};
use crate::fault;
use crate::record::{RecorderEvent, StreamId, proto};
use crate::session::agents::RuleSet;
use crate::spool::Choice;

/// What still comes is carried for as long before a recorder stops: agents that
/// go on without a daemon never cease to make events.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// Where a recorder can be taken over from.
#[derive(Debug)]
pub(in crate::daemon) struct Continuity {
    pins: Pins,
    keeper: Keeper,
    /// Whether all is left when this recorder stops by itself.
    leaves: bool,
    /// Whether it was told that nothing can be kept.
    failed: bool,
}

/// Of a recorder that was killed.
#[derive(Debug, Default)]
pub(in crate::daemon) enum Left {
    /// Nothing.
    #[default]
    Nothing,
    /// Its programs, which are in use.
    Programs(proto::Checkpoint),
    /// Programs of another layout.
    Others(proto::Checkpoint, Vec<Previous>),
}

/// What a recorder begins with.
pub(in crate::daemon) struct Beginning {
    pub(in crate::daemon) kernel: Kernel,
    pub(in crate::daemon) rings: Rings,
    pub(in crate::daemon) continuity: Option<Continuity>,
    /// What the recorder before left.
    pub(in crate::daemon) left: Left,
    /// What is to be told of all that.
    pub(in crate::daemon) told: Vec<(RecorderEvent, String)>,
}

/// The kernel's side: what was left of it, or anew. `state`: the state directory.
pub(in crate::daemon) fn begin(setup: &Setup, state: &Path) -> Result<Beginning, Error> {
    if setup.pins.as_os_str().is_empty() {
        return unpinned(setup, state, Vec::new());
    }
    let options = &setup.kernel;
    let pinned = find(&setup.pins, state, setup.leaves).and_then(|(continuity, checkpoint)| {
        let mut told = Vec::new();
        match taken_up(options, &continuity, checkpoint.as_ref(), &mut told)? {
            Some((kernel, rings)) => Ok(Beginning {
                kernel,
                rings,
                continuity: Some(continuity),
                left: checkpoint.map_or(Left::Nothing, Left::Programs),
                told,
            }),
            None => anew(options, continuity, checkpoint, told),
        }
    });
    match pinned {
        // A recorder that cannot be taken over from is better than none.
        Err(why @ (bpf::Error::Pin { .. } | bpf::Error::NoBpffs { .. })) => unpinned(
            setup,
            state,
            vec![(RecorderEvent::NotPinned, why.to_string())],
        ),
        pinned => Ok(pinned?),
    }
}

/// With programs that end with this process.
fn unpinned(
    setup: &Setup,
    state: &Path,
    mut told: Vec<(RecorderEvent, String)>,
) -> Result<Beginning, Error> {
    let (kernel, rings) = Kernel::load(&setup.kernel, None)?;
    let checkpoint = checkpoint::newest(state).filter(is_of_this_boot);
    let left = match checkpoint.filter(|_| setup.takes_over) {
        Some(checkpoint) => match elsewhere(&checkpoint, None) {
            Ok(previous) => left(checkpoint, previous),
            Err(why) => {
                told.push((RecorderEvent::PinsUnusable, why.to_string()));
                Left::Nothing
            }
        },
        None => Left::Nothing,
    };
    Ok(Beginning {
        kernel,
        rings,
        continuity: None,
        left,
        told,
    })
}

/// The programs of a checkpoint that are pinned somewhere else than below `here`.
fn elsewhere(
    checkpoint: &proto::Checkpoint,
    here: Option<&Pins>,
) -> Result<Vec<Previous>, bpf::Error> {
    let directory = Path::new(OsStr::from_bytes(&checkpoint.pins));
    if here.is_some_and(|here| here.directory() == directory) {
        return Ok(Vec::new());
    }
    // Where it is not there any more, the programs are not either.
    match Pins::there(directory) {
        Some(pins) => Previous::find(&pins),
        None => Ok(Vec::new()),
    }
}

fn left(checkpoint: proto::Checkpoint, previous: Vec<Previous>) -> Left {
    if previous.is_empty() {
        Left::Nothing
    } else {
        Left::Others(checkpoint, previous)
    }
}

/// With the programs that were left, if they are those of the checkpoint.
fn taken_up(
    options: &bpf::Options,
    continuity: &Continuity,
    checkpoint: Option<&proto::Checkpoint>,
    told: &mut Vec<(RecorderEvent, String)>,
) -> Result<Option<(Kernel, Rings)>, bpf::Error> {
    let Some(checkpoint) = checkpoint else {
        return Ok(None);
    };
    match Kernel::resume(options, &continuity.pins) {
        Ok(Some((kernel, rings))) if kernel.number() == checkpoint.programs => {
            // Of one that was killed while it took over.
            kernel.remove_others(&continuity.pins)?;
            return Ok(Some((kernel, rings)));
        }
        Ok(Some(_)) => told.push((
            RecorderEvent::PinsUnusable,
            "of another checkpoint".to_owned(),
        )),
        Ok(None) => {}
        Err(why) => told.push((RecorderEvent::PinsUnusable, why.to_string())),
    }
    Ok(None)
}

/// With new programs, beside those that were left.
fn anew(
    options: &bpf::Options,
    continuity: Continuity,
    checkpoint: Option<proto::Checkpoint>,
    told: Vec<(RecorderEvent, String)>,
) -> Result<Beginning, bpf::Error> {
    let mut previous = Previous::find(&continuity.pins)?;
    if let Some(checkpoint) = &checkpoint {
        previous.extend(elsewhere(checkpoint, Some(&continuity.pins))?);
    }
    let (kernel, rings) = Kernel::load(options, Some(&continuity.pins))?;
    let left = if let Some(checkpoint) = checkpoint {
        left(checkpoint, previous)
    } else {
        // Nobody knows whose they are.
        previous.into_iter().try_for_each(Previous::remove)?;
        Left::Nothing
    };
    Ok(Beginning {
        kernel,
        rings,
        continuity: Some(continuity),
        left,
        told,
    })
}

fn find(
    pins: &Path,
    state: &Path,
    leaves: bool,
) -> Result<(Continuity, Option<proto::Checkpoint>), bpf::Error> {
    let pins = Pins::new(pins, state)?;
    let (keeper, checkpoint) = Keeper::open(state).map_err(|source| bpf::Error::System {
        what: "opening the checkpoint in the state directory",
        source,
    })?;
    let continuity = Continuity {
        pins,
        keeper,
        leaves,
        failed: false,
    };
    Ok((continuity, checkpoint.filter(is_of_this_boot)))
}

fn is_of_this_boot(checkpoint: &proto::Checkpoint) -> bool {
    checkpoint.boot_id == boot_id()
}

/// The stream to write. That of a recorder that was killed is for who takes it
/// over: a session is in one stream.
pub(in crate::daemon) fn stream(takes_over: bool, state: &Path) -> Choice {
    let left = checkpoint::newest(state).filter(is_of_this_boot);
    let stream = left.and_then(|left| StreamId::from_bytes(&left.stream_id));
    match stream {
        None => Choice::Newest,
        Some(stream) if takes_over => Choice::First(stream),
        Some(stream) => Choice::Without(stream),
    }
}

fn boot_id() -> String {
    // Without it, no checkpoint is of another boot.
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

impl Recorder {
    /// Finds the sessions that ran before this recorder did: those of a daemon
    /// that was killed, and running agents.
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

    /// Carries everything that was made until now and makes it durable. What
    /// still runs is ended, with the programs, or left to the next recorder.
    ///
    /// # Errors
    ///
    /// As for [`Recorder::step`].
    pub fn finish(&mut self) -> Result<(), Error> {
        let finished = self.finish_records();
        match &mut self.continuity {
            Some(continuity) if !continuity.leaves => {
                let removed = continuity.pins.remove();
                finished?;
                removed?;
                let cleared = continuity.keeper.clear();
                Ok(cleared.map_err(|source| bpf::Error::System {
                    what: "clearing the checkpoint in the state directory",
                    source,
                })?)
            }
            _ => finished,
        }
    }

    fn finish_records(&mut self) -> Result<(), Error> {
        let leaves = self.continuity.as_ref().is_some_and(|it| it.leaves);
        if !leaves {
            self.close_gate()?;
        }
        // Until nothing came: what a batch brings the guard to end makes events of its own.
        let begun = Instant::now();
        while begun.elapsed() < FINISH_WITHIN {
            self.carry(true)?;
            if self.batch.is_empty() {
                break;
            }
        }
        self.tell_heirs(u64::MAX);
        self.tell_losses()?;
        if leaves {
            self.tell(RecorderEvent::Stop, "its sessions go on");
            self.spool.sync()?;
            self.keep();
            return Ok(());
        }
        self.end_all()?;
        self.tell(RecorderEvent::Stop, "");
        self.spool.sync()?;
        self.keep();
        Ok(())
    }

    fn end_all(&mut self) -> Result<(), Error> {
        let sessions = self.tracker.registry.live();
        let running: Vec<_> = sessions.iter().map(|session| session.number).collect();
        for number in running {
            self.end(number, proto::EndReason::Detached)?;
        }
        Ok(())
    }

    /// Writes down what the next recorder is to know. What the disk does not
    /// take is lost with this one: so the last checkpoint stays, and tells of more.
    pub(in crate::daemon) fn keep(&mut self) {
        if self.continuity.is_none() {
            return;
        }
        self.is_unkept = true;
        if !self.spool.flush() {
            return;
        }
        let checkpoint = self.checkpoint();
        let Some(continuity) = &mut self.continuity else {
            return;
        };
        let kept = continuity.keeper.keep(checkpoint);
        fault::point(fault::CHECKPOINT_KEPT);
        let failed = kept.is_err();
        if let Err(why) = kept
            && !continuity.failed
        {
            self.tell(RecorderEvent::CheckpointFailed, &why.to_string());
        }
        if let Some(continuity) = &mut self.continuity {
            continuity.failed = failed;
        }
        self.is_unkept = failed;
    }

    fn checkpoint(&self) -> proto::Checkpoint {
        let told = &self.loss.told;
        let unrecorded = self.tracker.unrecorded();
        let delivered = self.delivered.iter().zip(unrecorded);
        let pins = self.continuity.as_ref().map(|it| it.pins.directory());
        let pins = pins.map(|it| it.as_os_str().as_bytes().to_vec());
        proto::Checkpoint {
            generation: 0,
            boot_id: boot_id(),
            programs: self.kernel.number(),
            stream_id: self.spool.stream_id().to_bytes(),
            seq: self.spool.last_seq().0,
            next_session: self.next_session,
            delivered: delivered
                .map(|(all, unrecorded)| all.saturating_sub(unrecorded))
                .collect(),
            canaries: self.watch.events().to_vec(),
            crashed: self.loss.crashed.to_vec(),
            told_lost: told.lost.to_vec(),
            told_troubles: told.troubles.to_vec(),
            told_skipped: told.skipped,
            held: self
                .holds
                .waiting()
                .map(|held| held.bytes().to_vec())
                .collect(),
            sessions: self.tracker.snapshots(),
            ended: self.sessions().ended().map(|it| it.number).collect(),
            pins: pins.unwrap_or_default(),
        }
    }
}
