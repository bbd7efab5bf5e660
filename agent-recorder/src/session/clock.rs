//! The two clocks of records: the kernel programs tell CLOCK_BOOTTIME, people read CLOCK_REALTIME.

/// From CLOCK_BOOTTIME to CLOCK_REALTIME, as of one moment: the wall clock can be set, so it is read once a batch.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    offset: i128,
}

impl Clock {
    /// Reads both clocks.
    pub fn now() -> Self {
        let boot = nanoseconds(rustix::time::ClockId::Boottime);
        let real = nanoseconds(rustix::time::ClockId::Realtime);
        Self {
            offset: real - boot,
        }
    }

    /// A boot time, ns, as wall time, ns since 1970.
    pub fn unix_ns(self, boot_ns: u64) -> i64 {
        i64::try_from(i128::from(boot_ns) + self.offset).unwrap_or(i64::MAX)
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
