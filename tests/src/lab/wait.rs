//! Waits for a condition that a test caused, never for a time.

use std::time::{Duration, Instant};

use anyhow::ensure;

/// Longest wait: a daemon tries again after at most 30 s, and notices a dead peer
/// within 30 s.
pub const LIMIT: Duration = Duration::from_secs(120);
/// The first pause; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Evaluates a condition again and again until it has a value.
///
/// # Errors
///
/// The condition had no value within the limit, which the error names by `what`; or
/// evaluating it failed.
pub fn wait_for<T>(
    what: &str,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + LIMIT;
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(pause);
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

/// Evaluates a condition again and again until it holds.
///
/// # Errors
///
/// It does not hold within the limit.
pub fn until(what: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    wait_for(what, || Ok(holds().then_some(())))
}
