//! Runs a judgement in a thread that the deadline abandons.
//!
//! A lookup can hang for ever: a FIFO in the place of a repository's file, or a FUSE
//! file system whose server is the stopped session. The abandoned thread ends when its
//! call returns; while too many hang, nothing is judged.
//!
//! Not here: SIGBUS. gix maps objects into memory, and a process outside the session
//! that cuts a pack while it is read ends the recorder; the kernel programs then end the
//! session. The index, which is read first and most, is not mapped.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use super::bench;
use super::findings::Shared;
use super::loss::{Fault, Holder, Judgement, Loss};
use super::settings::Settings;

/// Most judgements that may hang at a time. Each keeps a thread and its memory.
const MOST_HANGING: usize = 4;
/// Threads that were abandoned and still run.
static HANGING: AtomicUsize = AtomicUsize::new(0);

/// Where a thread is, for the caller and for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Ended,
    /// The caller has gone without it.
    Abandoned,
}

/// One thread's stage. It counts among the hanging ones from its abandonment to its end.
#[derive(Clone, Debug)]
struct Watch(Arc<Mutex<Stage>>);

impl Watch {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Stage::Running)))
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn abandon(&self) {
        let mut stage = self.stage();
        if *stage == Stage::Running {
            *stage = Stage::Abandoned;
            HANGING.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Ends a thread's stage when the thread ends, by a panic as well.
struct Ending(Watch);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut stage = self.0.stage();
        if *stage == Stage::Abandoned {
            HANGING.fetch_sub(1, Ordering::SeqCst);
        }
        *stage = Stage::Ended;
    }
}

/// Judges the losses. It returns at the deadline at the latest; objects without an
/// answer are then `Unjudged`.
pub fn judge(losses: &[Loss], settings: &Settings, deadline: Instant) -> Judgement {
    let begun = Instant::now();
    let shared = Shared::new(losses.len());
    let (owned, told) = (losses.to_vec(), settings.clone());
    let writer = shared.clone();
    let job = move || bench::judge_all(&owned, &told, deadline, &writer);
    let fault = run(job, deadline, &shared).err();
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
    job: impl FnOnce() + Send + 'static,
    deadline: Instant,
    shared: &Shared,
) -> Result<(), Fault> {
    let hanging = HANGING.load(Ordering::SeqCst);
    if hanging >= MOST_HANGING {
        return Err(Fault::Hanging { hanging });
    }
    let watch = Watch::new();
    let ending = Ending(watch.clone());
    let (done, ended) = mpsc::channel::<()>();
    thread::Builder::new()
        .name("judge".to_owned())
        .spawn(move || {
            let _ending = ending;
            // Dropped at the end, also by a panic: the receiver then sees a hang-up.
            let done = done;
            job();
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
        Err(RecvTimeoutError::Timeout) => {
            watch.abandon();
            Err(Fault::Deadline {
                unjudged: unjudged(),
            })
        }
        Err(RecvTimeoutError::Disconnected) => Err(Fault::Panic {
            unjudged: unjudged(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_thread_hangs_from_its_abandonment_to_its_end_only() {
        let watch = Watch::new();
        let ending = Ending(watch.clone());
        watch.abandon();
        assert_eq!(*watch.stage(), Stage::Abandoned);
        drop(ending);
        assert_eq!(*watch.stage(), Stage::Ended);
        watch.abandon();
        assert_eq!(*watch.stage(), Stage::Ended);
    }

    #[test]
    fn answers_before_a_job_hangs_stand() {
        let (release, wait) = mpsc::channel::<()>();
        let shared = Shared::new(2);
        let writer = shared.clone();
        let job = move || {
            writer.answer(0, Holder::Git);
            // It hangs until the test is over.
            let _ = wait.recv();
            writer.answer(7, Holder::Git);
        };
        let result = run(job, Instant::now() + Duration::from_secs(1), &shared);
        assert!(matches!(result, Err(Fault::Deadline { unjudged: 1 })));
        assert_eq!(shared.lock().holders, [Holder::Git, Holder::Unjudged]);
        drop(release);
    }

    #[test]
    fn a_job_that_panics_leaves_its_answers_and_a_fault() {
        let shared = Shared::new(2);
        let writer = shared.clone();
        let job = move || {
            writer.answer(1, Holder::Git);
            panic!("a hostile file");
        };
        let result = run(job, Instant::now() + Duration::from_secs(20), &shared);
        assert!(matches!(result, Err(Fault::Panic { unjudged: 1 })));
        assert_eq!(shared.lock().holders, [Holder::Unjudged, Holder::Git]);
    }
}
