//! What security hooks saw of operations whose results have not come yet.
//!
//! The object, its path and its inode are the kernel's own; the operation's
//! event, which follows from the same thread or with the same token, says how
//! it was asked for and how it ended. An operation that never reached its
//! object has no observation, and keeps the path that its caller gave.

use std::collections::HashMap;

use agent_recorder_abi::event::{
    FILE_DESCRIPTOR, FILE_FOLLOWS, FILE_PATH_CUT, FILE_PATH_UNREADABLE, FILE_SECOND_PATH_CUT,
    FILE_SECOND_WALK_CUT, FILE_WALK_CUT, FileBody, Header, Op,
};
use agent_recorder_abi::state::SessionNumber;

use super::process;
use crate::bpf::FileEvent;
use crate::record::ProcessKey;

/// Threads, or requests, with an observation at one time; beyond, paths stay as their callers gave them.
const MAX_OBSERVATIONS: usize = 16_384;
/// Observations of one operation: rename(2) with RENAME_EXCHANGE had two before 5.19, and each can be done over (ESTALE).
const MAX_OF_ONE: usize = 4;

/// What a mark of the caller's path means nothing to.
const OF_CALLERS_PATH: u16 =
    FILE_DESCRIPTOR | FILE_FOLLOWS | FILE_PATH_CUT | FILE_PATH_UNREADABLE | FILE_WALK_CUT;
/// The same of the caller's second path.
const OF_CALLERS_SECOND_PATH: u16 = FILE_SECOND_PATH_CUT | FILE_SECOND_WALK_CUT;

/// Whose operation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// A thread's own: it does one thing at a time.
    Thread(ProcessKey, u32),
    /// A request of io_uring, by its token.
    Request(u64),
}

/// An object that a hook saw.
#[derive(Clone, Debug)]
pub(super) struct HookObservation {
    session: SessionNumber,
    body: FileBody,
    base: Vec<u8>,
    base2: Vec<u8>,
    extra: Vec<u8>,
}

/// Observations that wait for their results.
#[derive(Debug, Default)]
pub(super) struct HookObservations {
    waiting: HashMap<Doing, Vec<HookObservation>>,
}

impl HookObservations {
    /// Keeps one.
    pub(super) fn seen(&mut self, header: &Header, event: &FileEvent<'_>) {
        let doing = doing(header, &event.body);
        if self.waiting.len() >= MAX_OBSERVATIONS && !self.waiting.contains_key(&doing) {
            return;
        }
        let of_one = self.waiting.entry(doing).or_default();
        if of_one.len() == MAX_OF_ONE {
            of_one.remove(0);
        }
        of_one.push(HookObservation {
            session: header.session,
            body: event.body,
            base: event.base.to_vec(),
            base2: event.base2.to_vec(),
            extra: event.extra.to_vec(),
        });
    }

    /// What was seen of the operation that this event ends: the last observation of
    /// its kind. The thread's others were of no recorded operation.
    pub(super) fn take(&mut self, header: &Header, ended: &FileBody) -> Option<HookObservation> {
        let observations = self.waiting.remove(&doing(header, ended))?;
        observations
            .into_iter()
            .rev()
            .find(|observation| observation.body.op == ended.op)
    }

    /// The program that an exec which failed was about to start.
    pub(super) fn take_program(&mut self, header: &Header) -> Option<HookObservation> {
        let asked = FileBody {
            op: Op::Exec as u8,
            ..FileBody::default()
        };
        self.take(header, &asked)
    }

    /// Every object whose attribute of this name the operation that this event
    /// ends was about to change: a file system on top of others asks for them, too.
    pub(super) fn take_attributed(
        &mut self,
        header: &Header,
        ended: &FileEvent<'_>,
    ) -> Vec<HookObservation> {
        let mut observations = self
            .waiting
            .remove(&doing(header, &ended.body))
            .unwrap_or_default();
        observations.retain(|observation| {
            observation.body.op == ended.body.op && observation.extra == ended.extra
        });
        observations
    }

    /// Forgets what a process was about to do: it has become another program.
    pub(super) fn forget(&mut self, header: &Header) {
        let key = process::key_of(header);
        self.waiting
            .retain(|doing, _| !matches!(doing, Doing::Thread(of, _) if *of == key));
    }

    /// Forgets what a session leaves without a result.
    pub(super) fn abandon(&mut self, session: SessionNumber) {
        self.waiting.retain(|_, observations| {
            observations.retain(|observation| observation.session != session);
            !observations.is_empty()
        });
    }
}

fn doing(header: &Header, body: &FileBody) -> Doing {
    if body.token == 0 {
        Doing::Thread(process::key_of(header), header.tid)
    } else {
        Doing::Request(body.token)
    }
}

impl HookObservation {
    /// Numbers.
    pub(super) fn body(&self) -> &FileBody {
        &self.body
    }

    /// The object's path, as it was walked.
    pub(super) fn walked(&self) -> &[u8] {
        &self.base
    }

    /// The event with the object in the place of the caller's path.
    pub(super) fn applied_to<'a>(&'a self, event: &FileEvent<'a>) -> FileEvent<'a> {
        let mut body = event.body;
        body.marks = body.marks & !OF_CALLERS_PATH | self.body.marks;
        body.dev = self.body.dev;
        body.ino = self.body.ino;
        body.omitted = self.body.omitted;
        body.replaced = self.body.replaced;
        let has_second = !self.base2.is_empty();
        if has_second {
            body.marks =
                body.marks & !OF_CALLERS_SECOND_PATH | self.body.marks & OF_CALLERS_SECOND_PATH;
            body.omitted2 = self.body.omitted2;
        }
        FileEvent {
            body,
            base: &self.base,
            path: b"",
            base2: if has_second { &self.base2 } else { event.base2 },
            path2: if has_second { b"" } else { event.path2 },
            extra: event.extra,
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn event<'a>(op: Op, base: &'a [u8], path: &'a [u8]) -> FileEvent<'a> {
        FileEvent {
            body: FileBody {
                op: op as u8,
                ..FileBody::default()
            },
            base,
            path,
            base2: b"",
            path2: b"",
            extra: b"",
        }
    }

    fn thread(tid: u32) -> Header {
        Header {
            pid: 7,
            tid,
            ..Header::default()
        }
    }

    #[test]
    fn the_object_takes_the_place_of_the_callers_path() {
        let mut observations = HookObservations::default();
        observations.seen(&thread(7), &event(Op::Delete, b"real\0tmp\0", b""));
        let asked = event(Op::Delete, b"tmp\0", b"lure");
        let observation = observations.take(&thread(7), &asked.body).unwrap();
        let known = observation.applied_to(&asked);
        assert_eq!((known.base, known.path), (&b"real\0tmp\0"[..], &b""[..]));
    }

    #[test]
    fn the_marks_of_the_callers_paths_go_with_them() {
        let mut observations = HookObservations::default();
        let mut seen = event(Op::Rename, b"old\0", b"");
        seen.base2 = b"new\0";
        seen.body.marks = FILE_SECOND_WALK_CUT;
        seen.body.omitted2 = 100;
        observations.seen(&thread(7), &seen);
        let mut asked = event(Op::Rename, b"dir\0", b"old");
        (asked.base2, asked.path2) = (b"dir\0", b"new");
        asked.body.marks = FILE_WALK_CUT | FILE_SECOND_PATH_CUT;
        asked.body.omitted = 50;
        let observation = observations.take(&thread(7), &asked.body).unwrap();
        let known = observation.applied_to(&asked);
        assert_eq!((known.base2, known.path2), (&b"new\0"[..], &b""[..]));
        assert_eq!(known.body.marks, FILE_SECOND_WALK_CUT);
        assert_eq!((known.body.omitted, known.body.omitted2), (0, 100));
    }

    #[test]
    fn another_threads_object_and_another_operations_are_not_taken() {
        let mut observations = HookObservations::default();
        observations.seen(&thread(8), &event(Op::Delete, b"other\0", b""));
        observations.seen(&thread(7), &event(Op::Mkdir, b"before\0", b""));
        let asked = event(Op::Delete, b"tmp\0", b"mine");
        assert!(observations.take(&thread(7), &asked.body).is_none());
        assert!(observations.take(&thread(8), &asked.body).is_some());
    }

    #[test]
    fn the_last_of_several_looks_counts() {
        let mut observations = HookObservations::default();
        for name in [&b"first\0"[..], b"second\0"] {
            observations.seen(&thread(7), &event(Op::Rename, name, b""));
        }
        let asked = event(Op::Rename, b"", b"x");
        let observation = observations.take(&thread(7), &asked.body).unwrap();
        assert_eq!(observation.base, b"second\0");
    }
}
