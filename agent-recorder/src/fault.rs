//! Named points at which a test ends this process, as a crash would: nothing is
//! written, closed or said any more. Only with the feature `fault-points`, and
//! there by the variable `FAILPOINTS` as the crate `fail` reads it: the action
//! `return` ends the process. Otherwise nothing is compiled in.

/// Names points, and a list of them.
macro_rules! points {
    ($(#[$all:meta])* $list:ident: $($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*

        $(#[$all])*
        pub const $list: &[&str] = &[$($name),*];
    };
}

points! {
    /// Those of a daemon, in the way of the data.
    OF_DAEMON:
    /// Programs are at their hooks and not all pinned: nobody can go on with them.
    PROGRAMS_ATTACHED = "programs-attached";
    /// They are pinned, and no checkpoint goes with them.
    PROGRAMS_PINNED = "programs-pinned";
    /// The rings that a daemon before this one left are empty, and no checkpoint says so.
    RINGS_EMPTIED = "rings-emptied";
    /// All is taken over, and no checkpoint says so.
    TAKEN_OVER = "taken-over";
    /// What is known is kept.
    CHECKPOINT_KEPT = "checkpoint-kept";
    /// A session's end is durable, and the kernel still counts it.
    SESSION_ENDED = "session-ended";
    /// Events left the rings, and are no records yet.
    EVENTS_READ = "events-read";
    /// A record has its number, in memory only.
    FRAME_NUMBERED = "frame-numbered";
    /// A segment is there, without its header.
    SEGMENT_CREATED = "segment-created";
    /// A segment is there, durably, without a frame.
    SEGMENT_BEGUN = "segment-begun";
    /// Frames are written, and not synced.
    FRAMES_WRITTEN = "frames-written";
    /// Frames are durable, and nothing says so.
    FRAMES_SYNCED = "frames-synced";
    /// What is durable is said to be.
    HEAD_MOVED = "head-moved";
    /// A segment is full; the next frame begins another.
    SEGMENT_SEALED = "segment-sealed";
    /// A batch is on its way.
    BATCH_SENT = "batch-sent";
    /// A batch was acknowledged, and that is kept nowhere.
    ACKNOWLEDGED = "acknowledged";
    /// That it was acknowledged is kept.
    ACKNOWLEDGEMENT_KEPT = "acknowledgement-kept";
}

/// Those that a daemon passes once, when it starts.
pub const OF_START: [&str; 4] = [
    PROGRAMS_ATTACHED,
    PROGRAMS_PINNED,
    RINGS_EMPTIED,
    TAKEN_OVER,
];

points! {
    /// Those of a collector.
    OF_COLLECTOR:
    /// A collector has a batch, and has not synced it.
    BATCH_APPENDED = "batch-appended";
    /// A collector has synced a batch, and has not acknowledged it.
    BATCH_KEPT = "batch-kept";
}

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
