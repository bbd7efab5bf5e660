//! The two clocks of records: the kernel programs use CLOCK_BOOTTIME, and people read
//! CLOCK_REALTIME.

use std::fmt;

/// Step of the wall clock against CLOCK_BOOTTIME from which on it is recorded, ns. A
/// clock that is only slewed needs half an hour for it (500 ppm, adjtimex(2)).
const JUMP: i128 = 1_000_000_000;

/// Offset from CLOCK_BOOTTIME to CLOCK_REALTIME at one moment. It is read once a
/// batch, because the wall clock can be set.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    boot: i128,
    offset: i128,
}

/// A step of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jump {
    /// Wall time without the step, ns since 1970.
    expected: i128,
    /// Wall time with the step, ns since 1970.
    shown: i128,
    /// Time since the clock was last read without the step, ns.
    within: i128,
}

impl Clock {
    /// Reads both clocks.
    pub fn now() -> Self {
        Self::at(
            nanoseconds(rustix::time::ClockId::Boottime),
            nanoseconds(rustix::time::ClockId::Realtime),
        )
    }

    fn at(boot: i128, real: i128) -> Self {
        Self {
            boot,
            offset: real - boot,
        }
    }

    /// The step of the wall clock since an earlier reading, if it is a second or
    /// more.
    pub fn jump_since(self, before: Self) -> Option<Jump> {
        ((self.offset - before.offset).abs() >= JUMP).then(|| Jump {
            expected: self.boot + before.offset,
            shown: self.boot + self.offset,
            within: self.boot - before.boot,
        })
    }

    /// Converts a boot time, ns, to wall time, ns since 1970.
    pub fn unix_ns(self, boot_ns: u64) -> i64 {
        i64::try_from(i128::from(boot_ns) + self.offset).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ns: i128| ns as f64 / 1e9;
        write!(
            f,
            "{} where {} was due: {:+.3} s, set within the last {:.3} s",
            Wall(self.shown),
            Wall(self.expected),
            seconds(self.shown - self.expected),
            seconds(self.within)
        )
    }
}

/// Wall time, ns since 1970, in readable form.
struct Wall(i128);

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            // The time is beyond the year 9999.
            Err(_) => write!(f, "{} ns", self.0),
        }
    }
}

fn nanoseconds(clock: rustix::time::ClockId) -> i128 {
    let time = rustix::time::clock_gettime(clock);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// CLOCK_BOOTTIME now, ns.
pub fn boot_ns() -> u64 {
    u64::try_from(nanoseconds(rustix::time::ClockId::Boottime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

    use super::*;

    const SECOND: i128 = 1_000_000_000;
    const REAL: i128 = 1_700_000_000 * SECOND;

    #[test]
    fn a_clock_that_is_set_is_told_of_in_either_direction() {
        let before = Clock::at(5 * SECOND, REAL);
        let ahead = Clock::at(7 * SECOND, REAL + 3602 * SECOND);
        assert_eq!(
            ahead.jump_since(before).unwrap().to_string(),
            "2023-11-14T23:13:22.000Z where 2023-11-14T22:13:22.000Z was due: \
             +3600.000 s, set within the last 2.000 s"
        );
        let back = Clock::at(7 * SECOND, 0);
        let said = back.jump_since(before).unwrap().to_string();
        assert!(said.starts_with("1970-01-01T00:00:00.000Z where"), "{said}");
        assert!(said.contains(": -1700000002.000 s"), "{said}");
    }

    #[test]
    fn time_that_passes_and_a_clock_that_is_slewed_are_no_jump() {
        let before = Clock::at(5 * SECOND, REAL);
        let later = Clock::at(1805 * SECOND, REAL + 1800 * SECOND + 900_000_000);
        assert_eq!(later.jump_since(before), None);
    }
}
