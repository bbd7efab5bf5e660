//! The words in text fields of records: events of the recorder itself, and the stages
//! at which records were lost.
//!
//! `record.proto` explains each word in the field's comment; a test compares the two
//! lists.
//! Not here: enums of the protocol itself.

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $word,)*
        }

        impl $name {
            /// All words, in the order of `record.proto`.
            pub const ALL: &[Self] = &[$(Self::$word,)*];

            /// The word in records.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$word => $text,)*
                }
            }

            /// The word of a record; `None` for a word of another version.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.name() == name)
            }
        }
    };
}

words! {
    /// `StreamEvent.event`.
    RecorderEvent {
        /// A recorder has begun.
        Start = "recorder_start",
        /// It took over the kernel programs of an earlier recorder.
        GoesOn = "recorder_goes_on",
        /// It moved the sessions of an earlier recorder to its own programs.
        Rebuilds = "recorder_rebuilds",
        /// The recorder ends.
        Stop = "recorder_stop",
        /// A stronger profile is not available.
        ProfilePassedOver = "profile_passed_over",
        /// The guard records and kills, and cannot refuse.
        GuardNotRefusing = "guard_not_refusing",
        /// The kernel lacks a hook.
        HookAbsent = "hook_absent",
        /// The kernel programs end with this recorder.
        NotPinned = "not_pinned",
        /// The pinned programs cannot be taken over.
        PinsUnusable = "pins_unusable",
        /// The checkpoint could not be written.
        CheckpointFailed = "checkpoint_failed",
        /// The wall clock was set.
        ClockJump = "clock_jump",
        /// The self-check could not be done.
        CanaryFailed = "canary_failed",
        /// Hooks fire again.
        HooksBack = "hooks_back",
        /// The programs were attached again.
        HooksAttachedAnew = "hooks_attached_anew",
        /// The programs could not be attached again.
        HooksNotAttached = "hooks_not_attached",
        /// The spool could not be written for a while.
        SpoolOutage = "spool_outage",
        /// Records were removed to keep the spool within its limits.
        SpoolFreed = "spool_freed",
        /// Another process changed the spool.
        SpoolAltered = "spool_altered",
        /// The collector stores less than it had acknowledged.
        CollectorBehind = "collector_behind",
        /// The collector broke the protocol.
        CollectorFault = "collector_fault",
        /// The collector refused records.
        RecordsRefused = "records_refused",
    }
}

words! {
    /// `Loss.stage`.
    LossStage {
        /// The ring of exec, exit, fork, deletes and the guard was full.
        RingPriority = "ring_priority",
        /// The other ring was full.
        RingBulk = "ring_bulk",
        /// Events left the rings and were lost when a recorder was killed.
        Crash = "crash",
        /// A kernel map was full.
        MapFull = "map_full",
        /// The kernel skipped a program.
        Preempted = "preempted",
        /// An event could not be decoded.
        Decode = "decode",
        /// There was no room for an io_uring request that waits for its result.
        Pending = "pending",
        /// The spool dropped records, or they cannot be read any more.
        Spool = "spool",
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;
    use crate::record::kinds::tests::protocol;

    /// The words in a field's comment, each as "// - `word`: …".
    fn listed(message: &str, field: &str) -> Vec<String> {
        let protocol = protocol();
        let (_, message) = protocol
            .split_once(&format!("\nmessage {message} {{"))
            .unwrap();
        let (comment, _) = message.split_once(field).unwrap();
        comment
            .lines()
            .filter_map(|line| line.trim().strip_prefix("// - `")?.split('`').next())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_protocol_explains_every_event_of_the_recorder() {
        let names: Vec<_> = RecorderEvent::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(listed("StreamEvent", "string event = 1;"), names);
    }

    #[test]
    fn the_protocol_explains_every_stage_of_loss() {
        let names: Vec<_> = LossStage::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(listed("Loss", "string stage = 1;"), names);
    }
}
