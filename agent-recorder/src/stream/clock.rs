//! The time of day, as the protocol has it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Since 1970, ns.
pub(super) fn unix_ns() -> i64 {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    // Fits until the year 2262.
    i64::try_from(since_1970.as_nanos()).unwrap_or(i64::MAX)
}
