//! Named points at which a test ends this process, as a crash would: nothing is
//! written, closed or said any more. Only with the feature `fault-points`, and
//! there by the variable `FAILPOINTS` as the crate `fail` reads it: the action
//! `return` ends the process. Otherwise nothing is compiled in.

/// All of them, in the way of the data; those of a collector come last.
pub const POINTS: [&str; 13] = [
    EVENTS_READ,
    FRAME_NUMBERED,
    SEGMENT_CREATED,
    SEGMENT_BEGUN,
    FRAMES_WRITTEN,
    FRAMES_SYNCED,
    HEAD_MOVED,
    SEGMENT_SEALED,
    BATCH_SENT,
    ACKNOWLEDGED,
    ACKNOWLEDGEMENT_KEPT,
    BATCH_APPENDED,
    BATCH_KEPT,
];

/// Events left the rings, and are no records yet.
pub(crate) const EVENTS_READ: &str = "events-read";
/// A record has its number, in memory only.
pub(crate) const FRAME_NUMBERED: &str = "frame-numbered";
/// A segment is there, without its header.
pub(crate) const SEGMENT_CREATED: &str = "segment-created";
/// A segment is there, durably, without a frame.
pub(crate) const SEGMENT_BEGUN: &str = "segment-begun";
/// Frames are written, and not synced.
pub(crate) const FRAMES_WRITTEN: &str = "frames-written";
/// Frames are durable, and nothing says so.
pub(crate) const FRAMES_SYNCED: &str = "frames-synced";
/// What is durable is said to be.
pub(crate) const HEAD_MOVED: &str = "head-moved";
/// A segment is full; the next frame begins another.
pub(crate) const SEGMENT_SEALED: &str = "segment-sealed";
/// A batch is on its way.
pub(crate) const BATCH_SENT: &str = "batch-sent";
/// A batch was acknowledged, and that is kept nowhere.
pub(crate) const ACKNOWLEDGED: &str = "acknowledged";
/// That it was acknowledged is kept.
pub(crate) const ACKNOWLEDGEMENT_KEPT: &str = "acknowledgement-kept";
/// A collector has a batch, and has not synced it.
pub(crate) const BATCH_APPENDED: &str = "batch-appended";
/// A collector has synced a batch, and has not acknowledged it.
pub(crate) const BATCH_KEPT: &str = "batch-kept";

/// Ends the process, if that is asked for at this point.
#[cfg(feature = "fault-points")]
pub(crate) fn point(name: &str) {
    fail::fail_point!(name, |_| {
        // Like a SIGKILL by somebody else: no handler, no destructor, no core.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
}

#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub(crate) const fn point(_name: &str) {}

/// Reads `FAILPOINTS`. What is given back holds while the points do.
#[cfg(feature = "fault-points")]
pub(crate) fn begin() -> fail::FailScenario<'static> {
    fail::FailScenario::setup()
}

/// How large a segment grows: `AGENT_RECORDER_SEGMENT_BYTES`, so that a short run has many of them.
#[cfg(feature = "fault-points")]
pub(crate) fn segment_bytes() -> Option<u64> {
    std::env::var("AGENT_RECORDER_SEGMENT_BYTES")
        .ok()?
        .parse()
        .ok()
}

#[cfg(not(feature = "fault-points"))]
pub(crate) const fn segment_bytes() -> Option<u64> {
    None
}
