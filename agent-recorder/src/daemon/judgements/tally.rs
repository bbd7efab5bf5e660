//! What a judgement means for the budgets, and its record.
//!
//! Not here: whether a limit is met (`guard::budget`).

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;

use agent_recorder_abi::policy::PlaceKey;

use crate::guard::budget::Lost;
use crate::guard::judge::{Holder, Judgement};
use crate::guard::places::Mounts;
use crate::record::proto;
use crate::session::Counted;

/// Counted objects by what became of them.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) lost: Vec<Lost>,
    /// Those among the lost that an earlier judgement let go: the kernel programs no longer
    /// count them.
    pub(super) fallen: u64,
    pub(super) spared_files: u64,
    pub(super) spared_bytes: u64,
}

/// Sorts the objects by what holds them. `since` is the session's count since the last
/// judgement: what it has beyond the objects is lost, and what it lacks was taken back,
/// because a removed file was written again.
pub(super) fn sort(objects: &[&Counted], judgement: &Judgement, since: u64, now: u64) -> Sorted {
    let mut sorted = Sorted::default();
    let mut held = Vec::new();
    for (object, holder) in objects.iter().zip(&judgement.holders) {
        if holder.is_lost() {
            sorted.lost.push(lost(object));
        } else {
            held.push((object.body.bytes, matches!(holder, Holder::MadeAnew)));
        }
    }
    let known = (sorted.lost.len() + held.len()) as u64;
    let unseen = since.saturating_sub(known);
    sorted.lost.extend((0..unseen).map(|_| Lost {
        time: now,
        bytes: 0,
    }));
    // Those that were taken back are among those that were made anew.
    held.sort_by_key(|&(_, is_anew)| !is_anew);
    let taken_back = known.saturating_sub(since);
    for (bytes, _) in held
        .into_iter()
        .skip(usize::try_from(taken_back).unwrap_or(usize::MAX))
    {
        sorted.spared_files += 1;
        sorted.spared_bytes += bytes;
    }
    sorted
}

/// A counted object that is lost.
pub(super) fn lost(object: &Counted) -> Lost {
    Lost {
        time: object.time,
        bytes: object.body.bytes,
    }
}

/// The spared directories as the kernel programs know them.
pub(super) fn keys_of(judgement: &Judgement) -> Vec<PlaceKey> {
    let mounts = Mounts::read();
    judgement
        .spared
        .iter()
        .filter_map(|directory| mounts.key_of(directory))
        .collect()
}

pub(super) fn described(judgement: &Judgement, sorted: &Sorted, counted: u64) -> proto::Judgement {
    let mut held: BTreeMap<&'static str, u64> = BTreeMap::new();
    for holder in &judgement.holders {
        *held.entry(holder.word()).or_default() += 1;
    }
    let known = judgement.holders.len() as u64;
    if counted > known {
        *held.entry("unseen").or_default() += counted - known;
    }
    proto::Judgement {
        held: held
            .into_iter()
            .map(|(holder, objects)| proto::HeldObjects {
                holder: holder.to_owned(),
                objects,
            })
            .collect(),
        lost: sorted.lost.len() as u64,
        spared: judgement
            .spared
            .iter()
            .map(|path| path.as_os_str().as_bytes().to_vec())
            .collect(),
        took_ns: u64::try_from(judgement.took.as_nanos()).unwrap_or(u64::MAX),
    }
}
