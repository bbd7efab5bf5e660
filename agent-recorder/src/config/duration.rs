//! Durations in readable form: "10s", "500ms", "1h".

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _, ser};

pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span: jiff::SignedDuration = text.parse().map_err(|_| {
        D::Error::custom(format!(
            "{text:?} is no duration: write \"10s\" or \"500ms\""
        ))
    })?;
    span.try_into()
        .map_err(|_| D::Error::custom("a duration cannot be negative"))
}

pub(super) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let duration = jiff::SignedDuration::try_from(*duration).map_err(ser::Error::custom)?;
    // The friendly form is `1h`, not `PT1H`.
    serializer.serialize_str(&format!("{duration:#}"))
}
