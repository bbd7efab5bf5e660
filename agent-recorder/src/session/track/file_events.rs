//! Events of files: joined with the half that was observed before, recorded, and
//! their effects on the names and links that are known.
//!
//! Not here: the halves that wait (`observed`), and the fields of a record
//! (`translate`).

use agent_recorder_abi::event::{FILE_SEEN, FileBody, Header, Op};
use agent_recorder_abi::state::SessionNumber;

use super::Tracker;
use crate::bpf::FileEvent;
use crate::record::{ProcessKey, proto};
use crate::session::handoff;
use crate::session::path::{KnownPath, Whose};
use crate::session::process;
use crate::session::registry::SAMPLE_PATHS;
use crate::session::translate::{self, View};

impl Tracker {
    /// Records an operation on files whose result is known.
    pub(super) fn file(
        &mut self,
        header: &Header,
        event: &FileEvent<'_>,
        records: &mut Vec<proto::Record>,
    ) {
        let key = process::key_of(header);
        let root = self.processes.get(key).root.clone();
        let mut view = View {
            resolver: &mut self.resolver,
            whose: Whose {
                root: root.as_deref(),
                pid: header.pid,
                tid: header.tid,
                used_unix_ns: self.clock.unix_ns(header.time),
            },
        };
        let file = if event.body.op == Op::Xattr as u8 {
            let seen = self.observations.take_attributed(header, event);
            let mut file = translate::file(event, &mut view);
            translate::set_attributed(&mut file, &seen, header.pid);
            file
        } else {
            let object = self.observations.take_object(header, &event.body);
            let located = object.as_ref().map(|object| object.locating(event));
            translate::file(located.as_ref().unwrap_or(event), &mut view)
        };
        if file.error == 0 {
            self.note_effect(header.session, key, &file);
        }
        if let Some(path) = handoff::written(&file) {
            self.written.push((header.session, path.bytes.to_vec()));
        }
        self.push(header, proto::record::Body::File(file), records);
    }

    fn note_effect(&mut self, session: SessionNumber, key: ProcessKey, file: &proto::File) {
        // A cut path, of which only the tail is known, cannot be looked up.
        let is_whole = !file.path_truncated && !file.new_path_truncated;
        match file.op() {
            proto::FileOp::Chdir => {
                self.processes.get(key).cwd = KnownPath::new(&file.path, file.path_truncated);
            }
            proto::FileOp::Symlink if is_whole => {
                self.resolver.links.made(&file.path, &file.new_path)
            }
            proto::FileOp::Link if is_whole => {
                self.resolver.links.named(&file.path, &file.new_path)
            }
            proto::FileOp::Rename if is_whole => {
                let exchange = file.flags & u64::from(libc::RENAME_EXCHANGE) != 0;
                self.resolver
                    .links
                    .renamed(&file.path, &file.new_path, exchange);
            }
            proto::FileOp::Delete => {
                if is_whole {
                    self.resolver.links.removed(&file.path);
                }
                let path = KnownPath::new(&file.path, file.path_truncated);
                self.note_destroyed(session, path);
            }
            _ => {}
        }
    }

    fn note_destroyed(&mut self, session: SessionNumber, path: KnownPath) {
        if let Some(session) = self.registry.get_mut(session) {
            session.totals.files_destroyed += 1;
            if session.sample.len() == SAMPLE_PATHS {
                session.sample.pop_front();
            }
            session.sample.push_back(path);
        }
    }

    /// Joins a result with its announcement, whose path it completes.
    pub(super) fn completed(
        &mut self,
        header: &Header,
        result: &FileEvent<'_>,
        records: &mut Vec<proto::Record>,
    ) {
        let Some(announced) = self.observations.take_announced(result.body.token) else {
            // The announcement was lost, and is counted as lost. Without it only the
            // result of an open has a path to record.
            if !result.base.is_empty() {
                self.file(header, result, records);
            }
            return;
        };
        if result.body.marks & FILE_SEEN != 0 {
            return;
        }
        self.file(&announced.header, &announced.ending_in(result), records);
    }

    /// Records announcements whose result never came, with the facts in the
    /// announcement.
    pub(super) fn give_up_pending(
        &mut self,
        session: SessionNumber,
        records: &mut Vec<proto::Record>,
    ) {
        for announced in self.observations.abandon(session) {
            let body = FileBody {
                error: libc::EINPROGRESS.cast_unsigned(),
                ..FileBody::default()
            };
            let result = FileEvent {
                body,
                base: b"",
                path: b"",
                base2: b"",
                path2: b"",
                extra: b"",
            };
            self.file(&announced.header, &announced.ending_in(&result), records);
        }
    }
}
