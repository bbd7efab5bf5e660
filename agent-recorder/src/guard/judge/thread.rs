//! Runs a judgement in a thread that the deadline abandons.
//!
//! A lookup can hang for ever: a FIFO in the place of a repository's file, or a FUSE
//! file system whose server is the stopped session. The abandoned thread ends when its
//! call returns; while too many hang, nothing is judged.
//!
//! Not here: SIGBUS. gix maps objects into memory, and a process outside the session
//! that cuts a pack while it is read ends the recorder; the kernel programs then end the
//! session. The index, which is read first and most, is not mapped.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::bench;
use super::loss::{Fault, Holder, Judgement, Loss};
use super::settings::Settings;

/// Most judgements that may hang at a time. Each keeps a thread and its memory.
const MOST_HANGING: usize = 4;
/// Threads that run.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

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
    fn new(losses: usize) -> Self {
        Self(Arc::new(Mutex::new(Findings {
            holders: vec![Holder::Unjudged; losses],
            ..Findings::default()
        })))
    }

    /// A panic of the other side leaves whole answers: each is written in one store.
    fn lock(&self) -> MutexGuard<'_, Findings> {
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

/// Counts a thread for as long as it lives, through panics as well.
struct Running;

impl Running {
    fn begin() -> Result<Self, Fault> {
        let hanging = RUNNING.fetch_add(1, Ordering::SeqCst);
        let running = Self;
        if hanging < MOST_HANGING {
            Ok(running)
        } else {
            Err(Fault::Hanging { hanging })
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Judges the losses. It returns at the deadline at the latest; objects without an
/// answer are then `Unjudged`.
pub fn judge(losses: &[Loss], settings: &Settings, deadline: Instant) -> Judgement {
    let begun = Instant::now();
    let shared = Shared::new(losses.len());
    let fault = run(losses, settings, deadline, &shared).err();
    let mut found = std::mem::take(&mut *shared.lock());
    found.faults.extend(fault);
    Judgement {
        holders: found.holders,
        spared: found.spared,
        leans_on: found.leans_on,
        faults: found.faults,
        took: begun.elapsed(),
    }
}

fn run(
    losses: &[Loss],
    settings: &Settings,
    deadline: Instant,
    shared: &Shared,
) -> Result<(), Fault> {
    let running = Running::begin()?;
    let (done, ended) = mpsc::channel::<()>();
    let (losses, settings) = (losses.to_vec(), settings.clone());
    let writer = shared.clone();
    thread::Builder::new()
        .name("judge".to_owned())
        .spawn(move || {
            let _running = running;
            // Dropped at the end, also by a panic: the receiver then sees a hang-up.
            let done = done;
            bench::judge_all(&losses, &settings, deadline, &writer);
            // The receiver is gone when the deadline has passed, and the answer with it.
            let _ = done.send(());
        })
        .map_err(Fault::Thread)?;
    let wait = deadline.saturating_duration_since(Instant::now());
    let unjudged = || {
        let found = shared.lock();
        let unjudged = found.holders.iter().filter(|one| **one == Holder::Unjudged);
        unjudged.count()
    };
    match ended.recv_timeout(wait) {
        Ok(()) => Ok(()),
        Err(RecvTimeoutError::Timeout) => Err(Fault::Deadline {
            unjudged: unjudged(),
        }),
        Err(RecvTimeoutError::Disconnected) => Err(Fault::Panic {
            unjudged: unjudged(),
        }),
    }
}
