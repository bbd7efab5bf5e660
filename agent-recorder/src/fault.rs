//! Named points at which a test ends this process as a crash would: nothing more is
//! written, closed or logged. They exist with the feature `fault-points` only, and
//! are switched on by the variable `FAILPOINTS`, which the crate `fail` reads: the
//! action `return` ends the process. Without the feature the points compile to
//! nothing.

/// Defines the points' names, and lists of them.
macro_rules! points {
    ($(#[$all:meta])* $list:ident: $($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub(crate) const $name: &str = $text;)*

        $(#[$all])*
        pub const $list: &[&str] = &[$($name),*];
    };
}

points! {
    /// Points of a daemon, in the order of the data's way.
    OF_DAEMON:
    /// The programs are attached and not all pinned, so no recorder can take them
    /// over.
    PROGRAMS_ATTACHED = "programs-attached";
    /// The programs are pinned, and no checkpoint belongs to them.
    PROGRAMS_PINNED = "programs-pinned";
    /// The rings of an earlier daemon are empty, and no checkpoint notes that.
    RINGS_EMPTIED = "rings-emptied";
    /// The takeover is complete, and no checkpoint notes that.
    TAKEN_OVER = "taken-over";
    /// The checkpoint is written.
    CHECKPOINT_KEPT = "checkpoint-kept";
    /// A session's end is durable, and the kernel still counts the session.
    SESSION_ENDED = "session-ended";
    /// Events were read from the rings, and are no records yet.
    EVENTS_READ = "events-read";
    /// A record has its number, in memory only.
    FRAME_NUMBERED = "frame-numbered";
    /// A segment exists, without its header.
    SEGMENT_CREATED = "segment-created";
    /// A segment exists durably, without a frame.
    SEGMENT_BEGUN = "segment-begun";
    /// Frames are written, and not synced.
    FRAMES_WRITTEN = "frames-written";
    /// Frames are durable, and the head does not include them.
    FRAMES_SYNCED = "frames-synced";
    /// The head includes the durable frames.
    HEAD_MOVED = "head-moved";
    /// A segment is full; the next frame begins another.
    SEGMENT_SEALED = "segment-sealed";
    /// A batch was sent.
    BATCH_SENT = "batch-sent";
    /// A batch was acknowledged, and the number is not stored yet.
    ACKNOWLEDGED = "acknowledged";
    /// The acknowledged number is stored.
    ACKNOWLEDGEMENT_KEPT = "acknowledgement-kept";
}

/// Points that a daemon passes once, when it starts.
pub const OF_START: [&str; 4] = [
    PROGRAMS_ATTACHED,
    PROGRAMS_PINNED,
    RINGS_EMPTIED,
    TAKEN_OVER,
];

points! {
    /// Points of a collector.
    OF_COLLECTOR:
    /// A collector has appended a batch, and not synced it.
    BATCH_APPENDED = "batch-appended";
    /// A collector has synced a batch, and not acknowledged it.
    BATCH_KEPT = "batch-kept";
}

/// Ends the process, if this point is switched on.
#[cfg(feature = "fault-points")]
pub(crate) fn point(name: &str) {
    fail::fail_point!(name, |_| {
        // This has the effect of a SIGKILL: no handler, no destructor, no core dump.
        let _ =
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    });
}

#[cfg(not(feature = "fault-points"))]
#[inline(always)]
pub(crate) const fn point(_name: &str) {}

/// Reads `FAILPOINTS`. The points are switched on while the returned value lives.
#[cfg(feature = "fault-points")]
pub(crate) fn begin() -> fail::FailScenario<'static> {
    fail::FailScenario::setup()
}

/// Size of a segment by `AGENT_RECORDER_SEGMENT_BYTES`, so that a short run has many
/// of them.
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
