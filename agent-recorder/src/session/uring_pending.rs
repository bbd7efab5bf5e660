//! Requests of io_uring that were announced and have no result yet: the
//! announcement has the path, the result has the error.

use std::collections::HashMap;

use agent_recorder_abi::event::{FileBody, Header, KINDS};

use crate::bpf::FileEvent;

/// What an announcement said.
#[derive(Clone, Debug)]
pub(super) struct Announced {
    pub(super) header: Header,
    body: FileBody,
    base: Vec<u8>,
    path: Vec<u8>,
    base2: Vec<u8>,
    path2: Vec<u8>,
    extra: Vec<u8>,
}

/// Announcements by their token.
#[derive(Debug, Default)]
pub(super) struct UringPending {
    announced: HashMap<u64, Announced>,
}

/// As many as the kernel side remembers.
const MAX_ANNOUNCED: usize = agent_recorder_abi::limits::MAX_URING_REQUESTS as usize;

impl UringPending {
    /// Keeps an announcement. False when there is no room: it is then lost, and the caller counts it.
    pub(super) fn announce(&mut self, header: Header, event: &FileEvent<'_>) -> bool {
        if self.announced.len() >= MAX_ANNOUNCED {
            return false;
        }
        let FileEvent {
            body,
            base,
            path,
            base2,
            path2,
            extra,
        } = *event;
        self.announced.insert(
            body.token,
            Announced {
                header,
                body,
                base: base.to_vec(),
                path: path.to_vec(),
                base2: base2.to_vec(),
                path2: path2.to_vec(),
                extra: extra.to_vec(),
            },
        );
        true
    }

    /// How many there are, by the kind of their events.
    pub(super) fn counts(&self) -> [u64; KINDS] {
        let mut counts = [0; KINDS];
        for announced in self.announced.values() {
            if let Some(count) = counts.get_mut(usize::from(announced.header.kind)) {
                *count += 1;
            }
        }
        counts
    }

    /// The announcement that a result belongs to.
    pub(super) fn take(&mut self, token: u64) -> Option<Announced> {
        self.announced.remove(&token)
    }

    /// Takes out what a session leaves without a result.
    pub(super) fn abandon(&mut self, session: u64) -> Vec<Announced> {
        let tokens: Vec<u64> = self
            .announced
            .iter()
            .filter(|(_, announced)| announced.header.session == session)
            .map(|(token, _)| *token)
            .collect();
        tokens
            .iter()
            .filter_map(|token| self.announced.remove(token))
            .collect()
    }
}

impl Announced {
    /// The announcement as a file event with its result; an open's result has the path of what was opened.
    pub(super) fn with_result<'a>(&'a self, result: &FileEvent<'a>) -> FileEvent<'a> {
        let opened = !result.base.is_empty();
        let mut body = self.body;
        body.error = result.body.error;
        body.replaced = result.body.replaced;
        if opened {
            body.op = result.body.op;
            body.marks = result.body.marks;
            body.dev = result.body.dev;
            body.ino = result.body.ino;
        }
        FileEvent {
            body,
            base: if opened { result.base } else { &self.base },
            path: if opened { b"" } else { &self.path },
            base2: &self.base2,
            path2: &self.path2,
            extra: &self.extra,
        }
    }
}
