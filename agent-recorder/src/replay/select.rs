//! Selects the records of a session, with the losses of the stream during it.

use crate::record::{Seq, SessionId, StreamId, proto};
use crate::spool::{self, Cursor, Item, Store};
use proto::record::Body;

/// The choice of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionChoice {
    /// The session that began last.
    Last,
    /// The session whose id begins with this text.
    Prefix(String),
}

/// The position of a session.
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
    /// Whether records are missing, or bytes are no records, in the part that was
    /// read.
    pub loss: bool,
}

/// The reason why a session cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The store cannot be read.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// No session has an id with this beginning.
    #[error("no session {0}")]
    None(String),
    /// Several sessions do.
    #[error("{count} sessions have ids that begin with {prefix}: give more of it")]
    Ambiguous {
        /// The beginning of the id.
        prefix: String,
        /// The number of sessions.
        count: usize,
    },
}

impl Reader {
    /// Finds the session in one pass over the store: it begins at its first record.
    ///
    /// # Errors
    ///
    /// No session matches, or several do.
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

    /// The stream of the session.
    pub fn stream(&self) -> StreamId {
        self.cursor.stream_id()
    }

    /// Whether the session's last record was read.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// The next record; `None` at the present end. Records of heirs follow the
    /// session's end, and a loss among them is no loss of the session.
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

/// Whether acts of any session may be missing: records were lost, or hooks did not
/// fire.
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
