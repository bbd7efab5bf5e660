//! Snapshots of sessions for the recorder that takes over.
//!
//! Not here: their storage (`daemon::takeover::checkpoint`).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use agent_recorder_abi::event::KINDS;
use agent_recorder_abi::state::SessionNumber;

use super::registry::{Session, Totals};
use super::track::Tracker;
use crate::record::{SessionId, proto};

impl Tracker {
    /// Snapshots of all running sessions.
    pub fn snapshots(&self) -> Vec<proto::SessionSnapshot> {
        let live = self.registry.live();
        live.into_iter()
            .map(|session| self.snapshot(session))
            .collect()
    }

    /// Events that arrived and are no records yet, by kind: only this recorder knows
    /// them.
    pub fn unrecorded(&self) -> [u64; KINDS] {
        self.observations.announced()
    }

    fn snapshot(&self, session: &Session) -> proto::SessionSnapshot {
        let totals = &session.totals;
        proto::SessionSnapshot {
            number: session.number,
            session_id: session.id.to_bytes(),
            agent: session.agent.clone(),
            rule: session.rule.clone(),
            name: session.name.clone(),
            origin: session.origin.into(),
            root: session.root,
            started_boot_ns: session.started_boot_ns,
            started_unix_ns: session.started_unix_ns,
            records: totals.records,
            processes: totals.processes,
            execs: totals.execs,
            files_destroyed: totals.files_destroyed,
            killed: session.killed,
            cause: session.cause.clone(),
            condemned: session.condemned,
            frozen: session.frozen,
            frozen_cgroups: session
                .frozen_cgroups
                .iter()
                .map(|path| path.as_os_str().as_bytes().to_vec())
                .collect(),
            start: self.unstarted.get(&session.number).cloned(),
        }
    }

    /// Restores a session without members. False for a snapshot without an id.
    pub fn restore(&mut self, snapshot: proto::SessionSnapshot) -> bool {
        let Some(id) = SessionId::from_bytes(&snapshot.session_id) else {
            return false;
        };
        let origin = snapshot.origin();
        let cgroup = |path| PathBuf::from(OsString::from_vec(path));
        self.registry.begin(Session {
            id,
            number: snapshot.number,
            agent: snapshot.agent,
            rule: snapshot.rule,
            name: snapshot.name,
            origin,
            root: snapshot.root,
            started_boot_ns: snapshot.started_boot_ns,
            started_unix_ns: snapshot.started_unix_ns,
            ended_unix_ns: None,
            live: Default::default(),
            left: Default::default(),
            totals: Totals {
                records: snapshot.records,
                processes: snapshot.processes,
                execs: snapshot.execs,
                files_destroyed: snapshot.files_destroyed,
            },
            killed: snapshot.killed,
            cause: snapshot.cause,
            struck: BTreeSet::new(),
            condemned: snapshot.condemned,
            frozen: snapshot.frozen,
            frozen_cgroups: snapshot.frozen_cgroups.into_iter().map(cgroup).collect(),
            sample: Default::default(),
        });
        if let Some(start) = snapshot.start {
            self.unstarted.insert(snapshot.number, start);
        }
        true
    }

    /// Adds a member that an earlier recorder has already counted.
    pub fn rejoin(&mut self, number: SessionNumber, pid: u32) {
        if let Some(session) = self.registry.get_mut(number) {
            session.live.insert(pid);
        }
    }
}
