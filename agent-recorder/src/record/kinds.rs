//! The list of record kinds, and the facts of each that several rooms need.
//!
//! A new message in the `oneof body` of `record.proto` compiles only with a row in
//! `record_kinds!` and an arm in [`Facts::of`].
//!
//! Not here: rendering a record (`replay::render`), and making it (`session`).

use agent_recorder_abi::event;

use super::proto;
use proto::record::Body;

/// The list: the variant of `Body` and the name of each kind. `record_kinds!(m)`
/// passes the rows to the macro `m`, so that other rooms use the same list.
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
        /// The kind of a record.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "record.proto documents each message")]
        pub enum RecordKind {
            $($kind,)*
            /// A record without a body that this version knows.
            Unknown,
        }

        impl RecordKind {
            /// All kinds, in the order of `record.proto`.
            pub const ALL: &[Self] = &[$(Self::$kind,)* Self::Unknown];

            /// The kind of a record with this body.
            pub fn of(body: Option<&Body>) -> Self {
                match body {
                    $(Some(Body::$kind(_)) => Self::$kind,)*
                    None => Self::Unknown,
                }
            }

            /// The name in the JSON form, in `--kind` and on the page.
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

    /// The kinds that a word of `--kind` selects, in any case; empty for an unknown
    /// word.
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

    /// The words of `--kind`, for help and errors.
    pub fn words() -> String {
        let names = Self::ALL.iter().map(|kind| kind.name());
        let words: Vec<_> = std::iter::once(Self::SESSION).chain(names).collect();
        words.join(", ")
    }
}

/// The order in which records are dropped while the spool cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropClass {
    /// Records that come in floods: they must not displace acts.
    First,
    /// Acts.
    Middle,
    /// Records that a session's account needs.
    Last,
}

/// Facts about a record for rooms that treat all kinds alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The kind's name in loss records.
    pub counted_as: &'static str,
    /// When the record is dropped in an outage of the spool.
    pub drop_class: DropClass,
    /// The kind of the kernel event that the record was made of. `None` where there
    /// was no event, or the event may have made another record of this kind.
    pub event: Option<event::Kind>,
    /// The paths of the record; empty where there is none.
    pub paths: [&'a [u8]; 2],
}

const NO_PATHS: [&[u8]; 2] = [&[], &[]];

impl<'a> Facts<'a> {
    /// The facts of a record with this body.
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
            // One datagram can contain several questions.
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

    /// The facts of a record that was made of one event, and has its name in loss
    /// records.
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
        // An io_uring request is made of two events. If the session ended before the
        // second, the record shows it as in progress.
        let in_progress = file.error == libc::EINPROGRESS.cast_unsigned();
        let is_uring = file.via() == proto::Via::IoUring;
        // The second path of a symbolic link is its text, and that of a mount its
        // source: neither is an object of the act.
        let has_one = matches!(op, proto::FileOp::Symlink | proto::FileOp::Mount);
        Self {
            event: facts.event.filter(|_| !in_progress && !is_uring),
            paths: [&file.path, if has_one { &[] } else { &file.new_path }],
            ..facts
        }
    }

    /// The paths that are not empty.
    pub fn paths(self) -> impl Iterator<Item = &'a [u8]> {
        self.paths.into_iter().filter(|path| !path.is_empty())
    }
}

/// The program, or the requested path where none was started.
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
            /// An empty body of each kind, and none.
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
