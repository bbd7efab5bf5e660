//! Waiting for what a test caused: looked for until it is there, never for a time.

use std::time::{Duration, Instant};

use anyhow::ensure;

/// A daemon tries again after at most 30 s, and a dead peer is found within 30.
pub const LIMIT: Duration = Duration::from_secs(120);
/// The pause after the first look; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Looks again and again until there is something.
///
/// # Errors
///
/// It never came, with `what` was waited for; or looking failed.
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

/// Looks again and again until something holds.
///
/// # Errors
///
/// It never does.
pub fn until(what: &str, holds: impl Fn() -> bool) -> anyhow::Result<()> {
    wait_for(what, || Ok(holds().then_some(())))
}
