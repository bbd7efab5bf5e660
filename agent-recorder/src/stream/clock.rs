//! The time of day in the protocol's unit.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970.
pub(super) fn unix_ns() -> i64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // The value fits until the year 2262.
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
