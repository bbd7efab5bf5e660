//! Halves of operations that wait for their other half.
//!
//! A security hook sees the object of an operation before its result: the object's
//! path and inode are the kernel's own. The event that follows, of the same thread or
//! with the same token, has the caller's path and the result. An operation that ended
//! before its object was reached has no first half, and its record has the caller's
//! path.
//!
//! A request of io_uring is announced: the announcement has the caller's path, and
//! the result has the error.
//!
//! Not here: the record of a whole operation (`translate`).

use std::collections::HashMap;

use agent_recorder_abi::event::{
    FILE_DESCRIPTOR, FILE_FOLLOWS, FILE_PATH_CUT, FILE_PATH_UNREADABLE, FILE_SECOND_PATH_CUT,
    FILE_SECOND_WALK_CUT, FILE_WALK_CUT, FileBody, Header, KINDS, Op,
};
use agent_recorder_abi::limits::MAX_URING_REQUESTS;
use agent_recorder_abi::state::SessionNumber;

use super::process;
use crate::bpf::FileEvent;
use crate::record::ProcessKey;

/// Most threads and requests whose objects are stored at one time. Beyond it, records
/// have the caller's path.
const MAX_OBJECTS: usize = 16_384;
/// Most objects of one operation: rename(2) with RENAME_EXCHANGE had two before 5.19,
/// and each can be repeated (ESTALE).
const MAX_OF_ONE: usize = 4;
/// Most announcements, as many as the kernel programs store.
const MAX_ANNOUNCED: usize = MAX_URING_REQUESTS as usize;

/// Flags that describe the caller's path only.
const OF_CALLERS_PATH: u16 =
    FILE_DESCRIPTOR | FILE_FOLLOWS | FILE_PATH_CUT | FILE_PATH_UNREADABLE | FILE_WALK_CUT;
/// Flags that describe the caller's second path only.
const OF_CALLERS_SECOND_PATH: u16 = FILE_SECOND_PATH_CUT | FILE_SECOND_WALK_CUT;

/// The thread or request whose operation it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// A thread, which does one operation at a time.
    Thread(ProcessKey, u32),
    /// A request of io_uring, by its token.
    Request(u64),
}

impl Doing {
    fn of(header: &Header, body: &FileBody) -> Self {
        if body.token == 0 {
            Self::Thread(process::key_of(header), header.tid)
        } else {
            Self::Request(body.token)
        }
    }
}

/// One half: a file event that owns its bytes, so that it outlives its batch.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) header: Header,
    body: FileBody,
    base: Vec<u8>,
    path: Vec<u8>,
    base2: Vec<u8>,
    path2: Vec<u8>,
    extra: Vec<u8>,
}

impl Observed {
    fn of(header: &Header, event: &FileEvent<'_>) -> Self {
        let FileEvent {
            body,
            base,
            path,
            base2,
            path2,
            extra,
        } = *event;
        Self {
            header: *header,
            body,
            base: base.to_vec(),
            path: path.to_vec(),
            base2: base2.to_vec(),
            path2: path2.to_vec(),
            extra: extra.to_vec(),
        }
    }

    fn as_event(&self) -> FileEvent<'_> {
        FileEvent {
            body: self.body,
            base: &self.base,
            path: &self.path,
            base2: &self.base2,
            path2: &self.path2,
            extra: &self.extra,
        }
    }

    /// Numbers of the event.
    pub(super) fn body(&self) -> &FileBody {
        &self.body
    }

    /// Path of the object, walked in the kernel.
    pub(super) fn walked(&self) -> &[u8] {
        &self.base
    }

    /// The event of the operation, with this object in the place of the caller's
    /// path.
    pub(super) fn locating<'a>(&'a self, asked: &FileEvent<'a>) -> FileEvent<'a> {
        let marks = asked.body.marks & !OF_CALLERS_PATH | self.body.marks;
        let mut joined = at(asked, &self.as_event(), marks);
        joined.body.omitted = self.body.omitted;
        joined.body.replaced = self.body.replaced;
        if !self.base2.is_empty() {
            let second = self.body.marks & OF_CALLERS_SECOND_PATH;
            joined.body.marks = marks & !OF_CALLERS_SECOND_PATH | second;
            joined.body.omitted2 = self.body.omitted2;
            joined.base2 = &self.base2;
            joined.path2 = b"";
        }
        joined
    }

    /// This announcement with its result. The result of an open has the path of the
    /// opened file.
    pub(super) fn ending_in<'a>(&'a self, result: &FileEvent<'a>) -> FileEvent<'a> {
        let asked = self.as_event();
        let mut joined = if result.base.is_empty() {
            asked
        } else {
            let mut opened = at(&asked, result, result.body.marks);
            opened.body.op = result.body.op;
            opened
        };
        joined.body.error = result.body.error;
        joined.body.replaced = result.body.replaced;
        joined
    }
}

/// The operation, at the object that it reached.
fn at<'a>(asked: &FileEvent<'a>, object: &FileEvent<'a>, marks: u16) -> FileEvent<'a> {
    let mut body = asked.body;
    body.marks = marks;
    body.dev = object.body.dev;
    body.ino = object.body.ino;
    FileEvent {
        body,
        base: object.base,
        path: b"",
        ..*asked
    }
}

/// All halves that wait.
#[derive(Debug, Default)]
pub(super) struct Observations {
    objects: HashMap<Doing, Vec<Observed>>,
    /// Announcements by their token.
    announced: HashMap<u64, Observed>,
}

impl Observations {
    /// Stores an object that a hook saw.
    pub(super) fn saw(&mut self, header: &Header, event: &FileEvent<'_>) {
        let doing = Doing::of(header, &event.body);
        if self.objects.len() >= MAX_OBJECTS && !self.objects.contains_key(&doing) {
            return;
        }
        let of_one = self.objects.entry(doing).or_default();
        if of_one.len() == MAX_OF_ONE {
            of_one.remove(0);
        }
        of_one.push(Observed::of(header, event));
    }

    /// Stores an announcement. False when there is no room: the request is lost, and
    /// the caller counts it.
    pub(super) fn announce(&mut self, header: &Header, event: &FileEvent<'_>) -> bool {
        if self.announced.len() >= MAX_ANNOUNCED {
            return false;
        }
        self.announced
            .insert(event.body.token, Observed::of(header, event));
        true
    }

    /// Takes the announcement of a result out.
    pub(super) fn take_announced(&mut self, token: u64) -> Option<Observed> {
        self.announced.remove(&token)
    }

    /// Number of announcements, by the kind of their events.
    pub(super) fn announced(&self) -> [u64; KINDS] {
        let mut counts = [0; KINDS];
        for announced in self.announced.values() {
            if let Some(count) = counts.get_mut(usize::from(announced.header.kind)) {
                *count += 1;
            }
        }
        counts
    }

    /// Takes the object of the operation that this event ends: the last one of its
    /// kind. The thread's other objects belong to no recorded operation, and are
    /// dropped.
    pub(super) fn take_object(&mut self, header: &Header, ended: &FileBody) -> Option<Observed> {
        let objects = self.objects.remove(&Doing::of(header, ended))?;
        objects
            .into_iter()
            .rev()
            .find(|object| object.body.op == ended.op)
    }

    /// Takes the program that a failed exec was about to start.
    pub(super) fn take_program(&mut self, header: &Header) -> Option<Observed> {
        let asked = FileBody {
            op: Op::Exec as u8,
            ..FileBody::default()
        };
        self.take_object(header, &asked)
    }

    /// Takes every object whose attribute of this name the operation was about to
    /// change. A stacked file system causes further ones on the file systems below
    /// it.
    pub(super) fn take_attributed(
        &mut self,
        header: &Header,
        ended: &FileEvent<'_>,
    ) -> Vec<Observed> {
        let doing = Doing::of(header, &ended.body);
        let mut objects = self.objects.remove(&doing).unwrap_or_default();
        objects.retain(|object| object.body.op == ended.body.op && object.extra == ended.extra);
        objects
    }

    /// Drops the objects of a process, which has started another program.
    pub(super) fn forget(&mut self, header: &Header) {
        let key = process::key_of(header);
        self.objects
            .retain(|doing, _| !matches!(doing, Doing::Thread(of, _) if *of == key));
    }

    /// Takes the announcements without a result of a session, and drops its objects.
    pub(super) fn abandon(&mut self, session: SessionNumber) -> Vec<Observed> {
        self.objects.retain(|_, objects| {
            objects.retain(|object| object.header.session != session);
            !objects.is_empty()
        });
        self.announced
            .extract_if(|_, announced| announced.header.session == session)
            .map(|(_, announced)| announced)
            .collect()
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
        let mut observations = Observations::default();
        observations.saw(&thread(7), &event(Op::Delete, b"real\0tmp\0", b""));
        let asked = event(Op::Delete, b"tmp\0", b"lure");
        let observation = observations.take_object(&thread(7), &asked.body).unwrap();
        let known = observation.locating(&asked);
        assert_eq!((known.base, known.path), (&b"real\0tmp\0"[..], &b""[..]));
    }

    #[test]
    fn the_marks_of_the_callers_paths_go_with_them() {
        let mut observations = Observations::default();
        let mut seen = event(Op::Rename, b"old\0", b"");
        seen.base2 = b"new\0";
        seen.body.marks = FILE_SECOND_WALK_CUT;
        seen.body.omitted2 = 100;
        observations.saw(&thread(7), &seen);
        let mut asked = event(Op::Rename, b"dir\0", b"old");
        (asked.base2, asked.path2) = (b"dir\0", b"new");
        asked.body.marks = FILE_WALK_CUT | FILE_SECOND_PATH_CUT;
        asked.body.omitted = 50;
        let observation = observations.take_object(&thread(7), &asked.body).unwrap();
        let known = observation.locating(&asked);
        assert_eq!((known.base2, known.path2), (&b"new\0"[..], &b""[..]));
        assert_eq!(known.body.marks, FILE_SECOND_WALK_CUT);
        assert_eq!((known.body.omitted, known.body.omitted2), (0, 100));
    }

    #[test]
    fn another_threads_object_and_another_operations_are_not_taken() {
        let mut observations = Observations::default();
        observations.saw(&thread(8), &event(Op::Delete, b"other\0", b""));
        observations.saw(&thread(7), &event(Op::Mkdir, b"before\0", b""));
        let asked = event(Op::Delete, b"tmp\0", b"mine");
        assert!(observations.take_object(&thread(7), &asked.body).is_none());
        assert!(observations.take_object(&thread(8), &asked.body).is_some());
    }

    #[test]
    fn the_last_of_several_looks_counts() {
        let mut observations = Observations::default();
        for name in [&b"first\0"[..], b"second\0"] {
            observations.saw(&thread(7), &event(Op::Rename, name, b""));
        }
        let asked = event(Op::Rename, b"", b"x");
        let observation = observations.take_object(&thread(7), &asked.body).unwrap();
        assert_eq!(observation.base, b"second\0");
    }
}
