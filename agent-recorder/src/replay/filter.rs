//! Selects the records of a session by kind, path, time and expression.
//!
//! Not here: the choice of the session (`select`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use serde_json::Value;

use super::formats::to_json;
use crate::record::{Facts, RecordKind, StreamId, proto};

/// The conditions as the user gave them. An absent condition matches every record.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Names of kinds in the JSON form, or `session` for a session's start and end.
    pub kinds: Vec<String>,
    /// Glob for paths of files and programs; `*` ends at a slash, `**` does not.
    pub path: Option<String>,
    /// CEL expression over the JSON form (github.com/google/cel-spec).
    pub expression: Option<String>,
    /// The earliest time, or a time ago.
    pub since: Option<String>,
    /// The latest time, or a time ago.
    pub until: Option<String>,
}

/// An invalid condition.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// The kind does not exist.
    #[error("there is no kind {0:?}: use {list}", list = RecordKind::words())]
    Kind(String),
    /// The path is no glob.
    #[error("--path: {0}")]
    Path(#[from] globset::Error),
    /// The expression does not compile.
    #[error("--filter: {0}")]
    Expression(String),
    /// The time does not parse.
    #[error(
        "{option} {value:?} is no time: give one as 2026-11-23T10:00:00Z or \"2026-11-23 10:00\", or how long ago as 90s, 10m, 2h"
    )]
    Time {
        /// The option.
        option: &'static str,
        /// The option's value.
        value: String,
    },
}

/// The compiled conditions.
#[derive(Debug, Default)]
pub struct Filter {
    kinds: Vec<RecordKind>,
    path: Option<GlobMatcher>,
    expression: Option<cel::Program>,
    since: Option<i64>,
    until: Option<i64>,
}

impl Filter {
    /// Compiles the conditions.
    ///
    /// # Errors
    ///
    /// A condition is invalid.
    pub fn new(wanted: &Wanted) -> Result<Self, FilterError> {
        let mut kinds = Vec::new();
        for kind in &wanted.kinds {
            let before = kinds.len();
            kinds.extend(RecordKind::selected_by(kind));
            if kinds.len() == before {
                return Err(FilterError::Kind(kind.clone()));
            }
        }
        let path = wanted.path.as_deref().map(|glob| {
            GlobBuilder::new(glob)
                .literal_separator(true)
                .build()
                .map(|glob| glob.compile_matcher())
        });
        let expression = wanted.expression.as_deref().map(|source| {
            cel::Program::compile(source).map_err(|error| {
                let error = error.to_string();
                let first = error.lines().next().unwrap_or_default();
                let first = first.strip_prefix("ERROR: <input>:").unwrap_or(first);
                FilterError::Expression(first.to_owned())
            })
        });
        let time = |option, value: &Option<String>| {
            value
                .as_deref()
                .map(|value| {
                    point_in_time(value).ok_or_else(|| FilterError::Time {
                        option,
                        value: value.to_owned(),
                    })
                })
                .transpose()
        };
        Ok(Self {
            kinds,
            path: path.transpose()?,
            expression: expression.transpose()?,
            since: time("--since", &wanted.since)?,
            until: time("--until", &wanted.until)?,
        })
    }

    /// Whether a record meets all conditions. A record does not if the expression
    /// names a field that the record lacks, or compares incomparable values.
    pub fn wants(&self, stream: StreamId, record: &proto::Record) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&RecordKind::of(record.body.as_ref())))
            && self.since.is_none_or(|since| record.time_unix_ns >= since)
            && self.until.is_none_or(|until| record.time_unix_ns < until)
            && self.path.as_ref().is_none_or(|glob| {
                let mut paths = record.body.iter().flat_map(|body| Facts::of(body).paths());
                paths.any(|path| glob.is_match(Path::new(OsStr::from_bytes(path))))
            })
            && self
                .expression
                .as_ref()
                .is_none_or(|program| holds(program, &to_json(stream, record)))
    }
}

fn holds(program: &cel::Program, record: &Value) -> bool {
    let mut context = cel::Context::default();
    for (name, value) in record.as_object().into_iter().flatten() {
        // JSON's numbers, texts, lists and objects all have a counterpart in CEL.
        if context.add_variable(name.as_str(), signed(value)).is_err() {
            return false;
        }
    }
    matches!(program.execute(&context), Ok(cel::Value::Bool(true)))
}

/// Converts numbers: CEL's literals are signed, and differ from unsigned numbers.
fn signed(value: &Value) -> Signed<'_> {
    Signed(value)
}

struct Signed<'a>(&'a Value);

impl serde::Serialize for Signed<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match number.as_i64() {
                Some(number) => serializer.serialize_i64(number),
                None => number.serialize(serializer),
            },
            Value::Array(values) => serializer.collect_seq(values.iter().map(Signed)),
            Value::Object(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (name, Signed(value))))
            }
            other => other.serialize(serializer),
        }
    }
}

/// Parses a time as Unix time in ns.
fn point_in_time(text: &str) -> Option<i64> {
    let point = if let Ok(point) = text.parse::<jiff::Timestamp>() {
        point
    } else if let Ok(local) = text.parse::<jiff::civil::DateTime>() {
        local
            .to_zoned(jiff::tz::TimeZone::system())
            .ok()?
            .timestamp()
    } else {
        let ago: jiff::SignedDuration = text.parse().ok()?;
        // jiff parses "3m ago" as a negative duration, and "3m" as a positive one.
        jiff::Timestamp::now().checked_sub(ago.abs()).ok()?
    };
    i64::try_from(point.as_nanosecond()).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;
    use proto::record::Body;

    fn file(op: proto::FileOp, path: &str, new_path: &str) -> proto::Record {
        proto::Record {
            time_unix_ns: 1_000_000_000,
            process: Some(proto::Process {
                pid: 7,
                uid: 1000,
                ..Default::default()
            }),
            body: Some(Body::File(proto::File {
                op: op.into(),
                path: path.into(),
                new_path: new_path.into(),
                ..Default::default()
            })),
            ..Default::default()
        }
    }

    fn wants(wanted: &Wanted, record: &proto::Record) -> bool {
        Filter::new(wanted)
            .unwrap()
            .wants(StreamId::generate(), record)
    }

    fn by_expression(expression: &str, record: &proto::Record) -> bool {
        let wanted = Wanted {
            expression: Some(expression.to_owned()),
            ..Wanted::default()
        };
        wants(&wanted, record)
    }

    #[test]
    fn nothing_said_leaves_everything_in() {
        assert!(wants(
            &Wanted::default(),
            &file(proto::FileOp::Delete, "/x", "")
        ));
    }

    #[test]
    fn kinds_are_those_of_the_json_form_and_others_are_refused() {
        let record = file(proto::FileOp::Delete, "/x", "");
        for (kind, expected) in [("file", true), ("FILE", true), ("exec", false)] {
            let wanted = Wanted {
                kinds: vec![kind.to_owned()],
                ..Wanted::default()
            };
            assert_eq!(wants(&wanted, &record), expected, "{kind}");
        }
        let unknown = Wanted {
            kinds: vec!["files".to_owned()],
            ..Wanted::default()
        };
        assert!(matches!(Filter::new(&unknown), Err(FilterError::Kind(_))));
    }

    #[test]
    fn a_glob_meets_either_name_and_a_star_ends_at_a_slash() {
        let moved = file(proto::FileOp::Rename, "/etc/a", "/srv/data/b");
        for (glob, expected) in [
            ("/etc/*", true),
            ("/srv/**", true),
            ("/srv/*", false),
            ("**/b", true),
            ("/etc", false),
        ] {
            let wanted = Wanted {
                path: Some(glob.to_owned()),
                ..Wanted::default()
            };
            assert_eq!(wants(&wanted, &moved), expected, "{glob}");
        }
    }

    #[test]
    fn an_expression_sees_the_json_form() {
        let record = file(proto::FileOp::Delete, "/srv/data", "");
        assert!(by_expression(
            "file.op == 'DELETE' && process.uid == 1000",
            &record
        ));
        assert!(by_expression("file.path.startsWith('/srv/')", &record));
        assert!(by_expression("process.pid < 8", &record));
        assert!(by_expression("has(file.path) && !has(file.error)", &record));
        assert!(!by_expression("process.uid == 0", &record));
    }

    #[test]
    fn what_a_record_has_not_is_no_match_and_no_error() {
        let record = file(proto::FileOp::Delete, "/srv/data", "");
        assert!(!by_expression("network.op == 'CONNECT'", &record));
        assert!(!by_expression("file.error == 'EPERM'", &record));
        assert!(!by_expression("file.path > 3", &record));
        let broken = Wanted {
            expression: Some("file.op ==".to_owned()),
            ..Wanted::default()
        };
        assert!(matches!(
            Filter::new(&broken),
            Err(FilterError::Expression(_))
        ));
    }

    #[test]
    fn a_record_of_a_kind_that_is_not_known_is_shown_where_all_are() {
        let unknown = proto::Record {
            body: None,
            ..file(proto::FileOp::Delete, "/x", "")
        };
        assert!(wants(&Wanted::default(), &unknown));
        for (kind, expected) in [("unknown", true), ("file", false)] {
            let wanted = Wanted {
                kinds: vec![kind.to_owned()],
                ..Wanted::default()
            };
            assert_eq!(wants(&wanted, &unknown), expected, "{kind}");
        }
        let on_a_path = Wanted {
            path: Some("/**".to_owned()),
            ..Wanted::default()
        };
        assert!(!wants(&on_a_path, &unknown));
    }

    #[test]
    fn times_are_points_or_a_while_ago() {
        let record = file(proto::FileOp::Delete, "/x", "");
        for (since, expected) in [
            ("1970-01-01T00:00:01Z", true),
            ("1970-01-01T00:00:02Z", false),
            ("10m", false),
        ] {
            let wanted = Wanted {
                since: Some(since.to_owned()),
                ..Wanted::default()
            };
            assert_eq!(wants(&wanted, &record), expected, "{since}");
        }
        assert!(point_in_time("2026-11-23 10:00").is_some());
        let now = point_in_time("0s").unwrap();
        for ago in ["3m", "3m ago"] {
            let point = point_in_time(ago).unwrap();
            assert!(
                (170..190).contains(&((now - point) / 1_000_000_000)),
                "{ago}"
            );
        }
        assert!(point_in_time("yesterday").is_none());
    }
}
