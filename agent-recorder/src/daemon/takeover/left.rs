//! The state that a killed recorder left, and the kernel programs of the next: the
//! same ones, or new ones.
//!
//! Not here: taking the sessions over (`same_programs`, `new_programs`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::checkpoint;
use super::handover::Handover;
use crate::bpf::{self, Kernel, Pins, Previous, Rings};
use crate::daemon::{Error, Setup};
use crate::record::{RecorderEvent, StreamId, proto};
use crate::spool::Choice;

/// The state that a killed recorder left.
#[derive(Debug, Default)]
pub(in crate::daemon) enum Left {
    /// Nothing.
    #[default]
    Nothing,
    /// Its programs, which are in use again, and its checkpoint.
    Programs(proto::Checkpoint),
    /// Its checkpoint, and programs of another layout.
    Others(proto::Checkpoint, Vec<Previous>),
}

/// The kernel side at a recorder's beginning.
pub(in crate::daemon) struct Beginning {
    pub(in crate::daemon) kernel: Kernel,
    pub(in crate::daemon) rings: Rings,
    pub(in crate::daemon) handover: Option<Handover>,
    /// The state that the earlier recorder left.
    pub(in crate::daemon) left: Left,
    /// Events to record about the beginning.
    pub(in crate::daemon) news: Vec<(RecorderEvent, String)>,
}

/// Begins the kernel side: takes over the programs that were left, or loads new ones.
///
/// # Errors
///
/// The kernel refuses the programs, or the checkpoint cannot be opened.
pub(in crate::daemon) fn begin(setup: &Setup) -> Result<Beginning, Error> {
    if setup.pins.as_os_str().is_empty() {
        return unpinned(setup, Vec::new());
    }
    match pinned(setup) {
        // A recorder without takeover is better than none.
        Err(why @ (bpf::Error::Pin { .. } | bpf::Error::NoBpffs { .. })) => {
            unpinned(setup, vec![(RecorderEvent::NotPinned, why.to_string())])
        }
        pinned => Ok(pinned?),
    }
}

/// Begins with programs that outlive this process.
fn pinned(setup: &Setup) -> Result<Beginning, bpf::Error> {
    let options = &setup.kernel;
    let (handover, checkpoint) = Handover::open(&setup.pins, setup.state(), setup.leaves)?;
    let mut news = Vec::new();
    match taken_up(options, &handover, checkpoint.as_ref(), &mut news)? {
        Some((kernel, rings)) => Ok(Beginning {
            kernel,
            rings,
            handover: Some(handover),
            left: checkpoint.map_or(Left::Nothing, Left::Programs),
            news,
        }),
        None => anew(options, handover, checkpoint, news),
    }
}

/// Begins with programs that end with this process.
fn unpinned(setup: &Setup, mut news: Vec<(RecorderEvent, String)>) -> Result<Beginning, Error> {
    let (kernel, rings) = Kernel::load(&setup.kernel, None)?;
    let checkpoint = checkpoint::newest_of_this_boot(setup.state());
    let left = match checkpoint.filter(|_| setup.takes_over) {
        Some(checkpoint) => match elsewhere(&checkpoint, None) {
            Ok(previous) => left(checkpoint, previous),
            Err(why) => {
                news.push((RecorderEvent::PinsUnusable, why.to_string()));
                Left::Nothing
            }
        },
        None => Left::Nothing,
    };
    Ok(Beginning {
        kernel,
        rings,
        handover: None,
        left,
        news,
    })
}

/// The checkpoint's programs, where they are pinned in another directory than `here`.
fn elsewhere(
    checkpoint: &proto::Checkpoint,
    here: Option<&Pins>,
) -> Result<Vec<Previous>, bpf::Error> {
    let directory = Path::new(OsStr::from_bytes(&checkpoint.pins));
    if here.is_some_and(|here| here.directory() == directory) {
        return Ok(Vec::new());
    }
    // A missing directory means that the programs are gone, too.
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

/// Takes over the programs that were left, if they are those of the checkpoint.
fn taken_up(
    options: &bpf::Options,
    handover: &Handover,
    checkpoint: Option<&proto::Checkpoint>,
    news: &mut Vec<(RecorderEvent, String)>,
) -> Result<Option<(Kernel, Rings)>, bpf::Error> {
    let Some(checkpoint) = checkpoint else {
        return Ok(None);
    };
    match Kernel::resume(options, &handover.pins) {
        Ok(Some((kernel, rings))) if kernel.number() == checkpoint.programs => {
            // These are programs of a recorder that was killed during its takeover.
            kernel.remove_others(&handover.pins)?;
            return Ok(Some((kernel, rings)));
        }
        Ok(Some(_)) => news.push((
            RecorderEvent::PinsUnusable,
            "of another checkpoint".to_owned(),
        )),
        Ok(None) => {}
        Err(why) => news.push((RecorderEvent::PinsUnusable, why.to_string())),
    }
    Ok(None)
}

/// Loads new programs beside those that were left.
fn anew(
    options: &bpf::Options,
    handover: Handover,
    checkpoint: Option<proto::Checkpoint>,
    news: Vec<(RecorderEvent, String)>,
) -> Result<Beginning, bpf::Error> {
    let mut previous = Previous::find(&handover.pins)?;
    if let Some(checkpoint) = &checkpoint {
        previous.extend(elsewhere(checkpoint, Some(&handover.pins))?);
    }
    let (kernel, rings) = Kernel::load(options, Some(&handover.pins))?;
    let left = if let Some(checkpoint) = checkpoint {
        left(checkpoint, previous)
    } else {
        // Without a checkpoint the sessions of these programs are unknown.
        previous.into_iter().try_for_each(Previous::remove)?;
        Left::Nothing
    };
    Ok(Beginning {
        kernel,
        rings,
        handover: Some(handover),
        left,
        news,
    })
}

/// The stream to write. A killed recorder's stream is left to the recorder that takes
/// over, because a session is in one stream.
pub(in crate::daemon) fn stream(takes_over: bool, state: &Path) -> Choice {
    let left = checkpoint::newest_of_this_boot(state);
    let stream = left.and_then(|left| StreamId::from_bytes(&left.stream_id));
    match stream {
        None => Choice::Newest,
        Some(stream) if takes_over => Choice::First(stream),
        Some(stream) => Choice::Without(stream),
    }
}
