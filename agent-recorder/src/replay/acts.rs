//! Finds every act on one path, in all sessions of a store.

use std::collections::HashMap;

use crate::record::{Facts, SessionId, StreamId, proto};
use crate::spool::{self, Item, Store};
use proto::record::Body;

/// One act.
#[derive(Clone, Debug)]
pub struct Act {
    /// The stream of its record.
    pub stream: StreamId,
    /// The record.
    pub record: proto::Record,
    /// The agent of its session; empty where the session's start is not in the store.
    pub agent: String,
}

/// The result of a search.
#[derive(Clone, Debug, Default)]
pub struct Acts {
    /// The acts, newest last.
    pub acts: Vec<Act>,
    /// Whether records are missing in the searched streams.
    pub loss: bool,
}

impl Acts {
    /// Searches a store for acts on exactly this path.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn on(store: &Store, path: &[u8]) -> Result<Self, spool::Error> {
        let mut found = Self::default();
        for stream in store.streams()? {
            found.search(store, stream, path)?;
        }
        found
            .acts
            .sort_by_key(|act| (act.record.time_unix_ns, act.record.seq));
        Ok(found)
    }

    fn search(&mut self, store: &Store, stream: StreamId, path: &[u8]) -> Result<(), spool::Error> {
        let mut agents: HashMap<SessionId, String> = HashMap::new();
        let mut cursor = store.cursor(stream)?;
        while let Some(item) = cursor.next()? {
            let record = match item {
                Item::Record { record, .. } => record,
                Item::Flaw { .. } => continue,
                Item::Damage { last, .. } => {
                    self.loss = true;
                    if last.is_none() {
                        break;
                    }
                    continue;
                }
            };
            let session = SessionId::from_bytes(&record.session_id);
            match (&record.body, session) {
                (Some(Body::SessionStart(start)), Some(session)) => {
                    agents.insert(session, start.agent.clone());
                }
                (Some(Body::Loss(_)), _) => self.loss = true,
                (Some(body), _) if Facts::of(body).paths().any(|known| known == path) => {
                    let agent = session.and_then(|session| agents.get(&session)).cloned();
                    self.acts.push(Act {
                        stream,
                        record: *record,
                        agent: agent.unwrap_or_default(),
                    });
                }
                _ => {}
            }
        }
        Ok(())
    }
}
