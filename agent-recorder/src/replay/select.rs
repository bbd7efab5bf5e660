//! Which records a replay shows: one session's, with what the stream lost while it ran.

use crate::record::{Seq, SessionId, StreamId, proto};
use crate::spool::{self, Cursor, Item, Store};
use proto::record::Body;

/// Which session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChoice {
    /// The one that began last.
    Last,
    /// The one whose id begins so.
    Prefix(String),
}

/// Where a session is.
#[derive(Clone, Copy, Debug)]
struct Found {
    stream: StreamId,
    session: SessionId,
    first: Seq,
    started: i64,
}

/// Reads one session's records.
#[derive(Debug)]
pub struct Reader {
    cursor: Cursor,
    session: SessionId,
    ended: bool,
    /// Records, or bytes that are none, are missing in what was read.
    pub loss: bool,
}

/// Why a session cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The store cannot be read.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// No session is named so.
    #[error("no session {0}")]
    None(String),
    /// More than one is.
    #[error("{count} sessions have ids that begin with {prefix}: give more of it")]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// How many.
        count: usize,
    },
}

impl Reader {
    /// Finds the session. One pass over the store: its beginning is where it first occurs.
    ///
    /// # Errors
    ///
    /// There is none, or more than one.
    pub fn open(store: &Store, choice: &SessionChoice) -> Result<Self, SelectError> {
        let mut found: Vec<Found> = Vec::new();
        for stream in store.streams()? {
            find_sessions(store, stream, choice, &mut found)?;
        }
        let found = match choice {
            SessionChoice::Last => found.into_iter().max_by_key(|found| found.started),
            SessionChoice::Prefix(prefix) => {
                if found.len() > 1 {
                    return Err(SelectError::Ambiguous {
                        prefix: prefix.clone(),
                        count: found.len(),
                    });
                }
                found.pop()
            }
        };
        let Some(found) = found else {
            let name = match choice {
                SessionChoice::Last => "was recorded here".to_owned(),
                SessionChoice::Prefix(prefix) => format!("has an id that begins with {prefix}"),
            };
            return Err(SelectError::None(name));
        };
        let mut cursor = store.cursor(found.stream)?;
        cursor.seek(found.first)?;
        Ok(Self {
            cursor,
            session: found.session,
            ended: false,
            loss: false,
        })
    }

    /// The stream that is read.
    pub fn stream(&self) -> StreamId {
        self.cursor.stream_id()
    }

    /// Whether the session's last record was read.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The next record; `None` at the present end. Behind the session's end
    /// there are its heirs, and what is lost there is no loss of the session's.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn read(&mut self) -> Result<Option<proto::Record>, spool::Error> {
        loop {
            match self.cursor.next()? {
                None => return Ok(None),
                Some(Item::Flaw { .. }) => {}
                Some(Item::Damage { last, .. }) => {
                    self.loss |= !self.ended;
                    if last.is_none() {
                        self.ended = true;
                        return Ok(None);
                    }
                }
                Some(Item::Record { record, .. }) => {
                    let loss = is_gap(&record) && !self.ended;
                    let ours = SessionId::from_bytes(&record.session_id) == Some(self.session);
                    self.loss |= loss;
                    self.ended |= ours && matches!(record.body, Some(Body::SessionEnd(_)));
                    if ours || loss {
                        return Ok(Some(*record));
                    }
                }
            }
        }
    }
}

/// Whether what is not there could be any session's: it was lost, or the
/// hooks did not fire.
fn is_gap(record: &proto::Record) -> bool {
    match record.body {
        Some(Body::Loss(_)) => true,
        Some(Body::Tamper(_)) => record.session_id.is_empty(),
        _ => false,
    }
}

fn find_sessions(
    store: &Store,
    stream: StreamId,
    choice: &SessionChoice,
    found: &mut Vec<Found>,
) -> Result<(), spool::Error> {
    let mut cursor = store.cursor(stream)?;
    while let Some(item) = cursor.next()? {
        let Item::Record { seq, record, .. } = item else {
            if matches!(item, Item::Damage { last: None, .. }) {
                break;
            }
            continue;
        };
        let (Some(Body::SessionStart(_)), Some(session)) =
            (&record.body, SessionId::from_bytes(&record.session_id))
        else {
            continue;
        };
        let wanted = match choice {
            SessionChoice::Last => true,
            SessionChoice::Prefix(prefix) => session.to_string().starts_with(prefix.as_str()),
        };
        if wanted {
            found.push(Found {
                stream,
                session,
                first: seq,
                started: record.time_unix_ns,
            });
        }
    }
    Ok(())
}
