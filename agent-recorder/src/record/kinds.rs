//! The list of record kinds, and what every room has to know of each.
//!
//! A message that is new in `record.proto`'s `oneof body` does not compile
//! until it has a row in `record_kinds!` and an arm in [`Facts::of`].
//!
//! Not here: how a record reads (`replay::render`), and what it is made of
//! (`session`).

use agent_recorder_abi::event;

use super::proto;
use proto::record::Body;

/// The list: a kind's variant of `Body` and its name. `record_kinds!(m)` hands
/// the rows to the macro `m`, so that other rooms go through the same list.
macro_rules! record_kinds {
    ($macro:ident) => {
        $macro! {
            SessionStart "sessionStart",
            SessionEnd "sessionEnd",
            Exec "exec",
            Fork "fork",
            Exit "exit",
            File "file",
            Network "network",
            Dns "dns",
            Enforcement "enforcement",
            Loss "loss",
            StreamEvent "streamEvent",
            Control "control",
            HandOff "handOff",
            Heir "heir",
            Tamper "tamper",
        }
    };
}
pub(crate) use record_kinds;

macro_rules! define_kinds {
    ($($kind:ident $name:literal,)*) => {
        /// What a record is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "record.proto documents each message")]
        pub enum RecordKind {
            $($kind,)*
            /// A record without a body: its kind is one that a newer version knows.
            Unknown,
        }

        impl RecordKind {
            /// All of them, in the order of `record.proto`.
            pub const ALL: &[Self] = &[$(Self::$kind,)* Self::Unknown];

            /// The kind of a record with this body.
            pub fn of(body: Option<&Body>) -> Self {
                match body {
                    $(Some(Body::$kind(_)) => Self::$kind,)*
                    None => Self::Unknown,
                }
            }

            /// Its name in the JSON form, in `--kind` and on the page.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                    Self::Unknown => "unknown",
                }
            }
        }
    };
}
record_kinds!(define_kinds);

impl RecordKind {
    /// The word of `--kind` for a session's start and end.
    pub const SESSION: &str = "session";

    /// The kinds that a word of `--kind` selects, in any case; none for a word
    /// that is no kind.
    pub fn selected_by(word: &str) -> impl Iterator<Item = Self> {
        Self::ALL
            .iter()
            .copied()
            .filter(move |kind| kind.answers_to(word))
    }

    fn answers_to(self, word: &str) -> bool {
        let bounds_a_session = matches!(self, Self::SessionStart | Self::SessionEnd);
        self.name().eq_ignore_ascii_case(word)
            || bounds_a_session && word.eq_ignore_ascii_case(Self::SESSION)
    }

    /// The words that `--kind` takes, for help and complaints.
    pub fn words() -> String {
        let names = Self::ALL.iter().map(|kind| kind.name());
        let words: Vec<_> = std::iter::once(Self::SESSION).chain(names).collect();
        words.join(", ")
    }
}

/// Which records are dropped first while the spool cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropClass {
    /// What comes in floods: it must not push out what was done.
    First,
    /// What was done.
    Middle,
    /// What a session's account cannot do without.
    Last,
}

/// What rooms that treat all records alike have to know of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The name under which a loss record counts it.
    pub counted_as: &'static str,
    /// When it is dropped in an outage of the spool.
    pub drop_class: DropClass,
    /// The kind of the kernel's event that it was made of; `None` where that
    /// event may have made another record of this kind, or there was none.
    pub event: Option<event::Kind>,
    /// The paths that it is about, empty where there is none.
    pub paths: [&'a [u8]; 2],
}

const NO_PATHS: [&[u8]; 2] = [&[], &[]];

impl<'a> Facts<'a> {
    /// Of a record with this body.
    pub fn of(body: &'a Body) -> Self {
        use DropClass::{First, Last, Middle};
        let derived = Self::derived;
        let made_of = Self::made_of;
        match body {
            Body::SessionStart(_) | Body::SessionEnd(_) => derived("session", Last, NO_PATHS),
            Body::Exec(exec) => Self {
                paths: [exec_path(exec), &[]],
                ..made_of(event::Kind::Exec, Middle)
            },
            Body::Fork(_) => made_of(event::Kind::Fork, Middle),
            Body::Exit(_) => made_of(event::Kind::Exit, Middle),
            Body::File(file) => Self::of_file(file),
            Body::Network(_) => made_of(event::Kind::Network, Middle),
            // One datagram can have several questions.
            Body::Dns(_) => derived("dns", First, NO_PATHS),
            Body::Enforcement(_) => derived("enforcement", Last, NO_PATHS),
            Body::Loss(_) => derived("loss", Last, NO_PATHS),
            Body::StreamEvent(_) => derived("stream_event", Last, NO_PATHS),
            Body::Control(_) => made_of(event::Kind::Control, Middle),
            Body::HandOff(handed) => derived("hand_off", Middle, [&handed.to, &[]]),
            Body::Heir(heir) => derived("heir", Middle, [&heir.file, &[]]),
            Body::Tamper(tamper) => derived("tamper", Last, [&tamper.path, &[]]),
        }
    }

    fn derived(counted_as: &'static str, drop_class: DropClass, paths: [&'a [u8]; 2]) -> Self {
        Self {
            counted_as,
            drop_class,
            event: None,
            paths,
        }
    }

    /// Of one event, and counted as that is.
    fn made_of(event: event::Kind, drop_class: DropClass) -> Self {
        Self {
            event: Some(event),
            ..Self::derived(event.name(), drop_class, NO_PATHS)
        }
    }

    fn of_file(file: &'a proto::File) -> Self {
        let op = file.op();
        let (event, drop_class) = match op {
            proto::FileOp::Delete | proto::FileOp::Rmdir => {
                (event::Kind::Delete, DropClass::Middle)
            }
            proto::FileOp::Open => (event::Kind::Open, DropClass::First),
            _ => (event::Kind::File, DropClass::Middle),
        };
        let facts = Self::made_of(event, drop_class);
        // An io_uring request is made of two events; where the session ended
        // before the second, the record was given up as one in progress.
        let in_progress = file.error == libc::EINPROGRESS.cast_unsigned();
        let is_uring = file.via() == proto::Via::IoUring;
        // The second name of a symbolic link is its text, and of a mount its
        // source: no object of that act.
        let has_one = matches!(op, proto::FileOp::Symlink | proto::FileOp::Mount);
        Self {
            event: facts.event.filter(|_| !in_progress && !is_uring),
            paths: [&file.path, if has_one { &[] } else { &file.new_path }],
            ..facts
        }
    }

    /// The paths that there are.
    pub fn paths(self) -> impl Iterator<Item = &'a [u8]> {
        self.paths.into_iter().filter(|path| !path.is_empty())
    }
}

/// The program, or what was asked for where none was started.
fn exec_path(exec: &proto::Exec) -> &[u8] {
    if exec.error == 0 {
        &exec.exe
    } else {
        &exec.filename
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
pub(crate) mod tests {
    use super::*;

    macro_rules! define_one_of_each {
        ($($kind:ident $name:literal,)*) => {
            /// A body of each kind, each with nothing in it, and none.
            pub(crate) fn one_of_each() -> Vec<Option<Body>> {
                vec![$(Some(Body::$kind(Default::default())),)* None]
            }
        };
    }
    record_kinds!(define_one_of_each);

    /// The text of `record.proto`.
    pub(crate) fn protocol() -> String {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../proto/agent_recorder/v1/record.proto"
        );
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_kind_is_called_as_the_protocol_calls_it() {
        let protocol = protocol();
        let (_, body) = protocol.split_once("oneof body {").unwrap();
        let (body, _) = body.split_once('}').unwrap();
        let fields: Vec<_> = body
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        let names = RecordKind::ALL.iter().map(|kind| snake_case(kind.name()));
        let named: Vec<_> = fields.into_iter().map(str::to_owned).collect();
        let expected = named.into_iter().chain(["unknown".to_owned()]);
        assert!(names.eq(expected));
    }

    fn snake_case(name: &str) -> String {
        let letters = name.chars().flat_map(|letter| {
            let underscore = letter.is_ascii_uppercase().then_some('_');
            underscore.into_iter().chain([letter.to_ascii_lowercase()])
        });
        letters.collect()
    }

    #[test]
    fn each_name_selects_its_kind_and_session_both_ends_of_one() {
        for &kind in RecordKind::ALL {
            let selected: Vec<_> = RecordKind::selected_by(&kind.name().to_uppercase()).collect();
            assert_eq!(selected, [kind]);
        }
        let ends: Vec<_> = RecordKind::selected_by("session").collect();
        assert_eq!(ends, [RecordKind::SessionStart, RecordKind::SessionEnd]);
        assert_eq!(RecordKind::selected_by("files").count(), 0);
    }

    #[test]
    fn a_flood_of_opens_is_dropped_before_a_delete_and_that_before_an_enforcement() {
        let class = |body: &Body| Facts::of(body).drop_class;
        let file = |op: proto::FileOp| {
            Body::File(proto::File {
                op: op.into(),
                ..proto::File::default()
            })
        };
        assert!(class(&file(proto::FileOp::Open)) < class(&file(proto::FileOp::Delete)));
        let enforcement = Body::Enforcement(proto::Enforcement::default());
        assert!(class(&file(proto::FileOp::Delete)) < class(&enforcement));
    }
}
