//! What a judgement has found so far, shared between its thread and the caller.
//!
//! Not here: the thread and its deadline (`thread`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::loss::{Fault, Holder};

/// Answers so far: they stand when the rest does not come in time.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) holders: Vec<Holder>,
    pub(super) spared: Vec<PathBuf>,
    pub(super) leans_on: Vec<PathBuf>,
    pub(super) faults: Vec<Fault>,
}

/// Findings that the thread writes and the caller takes.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Mutex<Findings>>);

impl Shared {
    pub(super) fn new(losses: usize) -> Self {
        Self(Arc::new(Mutex::new(Findings {
            holders: vec![Holder::Unjudged; losses],
            ..Findings::default()
        })))
    }

    /// A panic of the other side leaves whole answers: each is written in one store.
    pub(super) fn lock(&self) -> MutexGuard<'_, Findings> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer for one loss. After the deadline nobody waits for it.
    pub(super) fn answer(&self, number: usize, holder: Holder) {
        if let Some(slot) = self.lock().holders.get_mut(number) {
            *slot = holder;
        }
    }

    /// What is known when all losses have an answer.
    pub(super) fn conclude(
        &self,
        spared: Vec<PathBuf>,
        leans_on: Vec<PathBuf>,
        faults: Vec<Fault>,
    ) {
        let mut found = self.lock();
        found.spared = spared;
        found.leans_on = leans_on;
        found.faults = faults;
    }
}
