//! Sessions that only the kernel programs know: the record of their beginning was
//! lost with the earlier recorder.
//!
//! Not here: ending sessions that ended meanwhile (`same_programs`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use agent_recorder_abi::state::SessionNumber;

use crate::bpf::{self, Batch, decode};
use crate::daemon::Error;
use crate::daemon::core::{Core, tagged};
use crate::daemon::processes::match_process;
use crate::daemon::self_check::CANARY;
use crate::record::proto;
use crate::session::agents::RuleSet;
use crate::session::{Begin, authority};

/// The state during a takeover.
#[derive(Debug)]
pub(in crate::daemon) struct Returning {
    rules: RuleSet,
    /// Sessions that ended. The kernel's counters of them may still exist.
    ended: HashSet<SessionNumber>,
}

impl Returning {
    pub(super) fn new(rules: RuleSet, ended: HashSet<SessionNumber>) -> Self {
        Self { rules, ended }
    }

    /// Begins those sessions of a batch whose own beginning was lost.
    ///
    /// # Errors
    ///
    /// /proc cannot be read.
    pub(in crate::daemon) fn begin_unknown(
        &self,
        core: &mut Core,
        batch: &Batch,
    ) -> Result<(), Error> {
        let events = || batch.iter().filter_map(|bytes| decode(bytes).ok());
        let begun: HashSet<_> = events()
            .filter(|event| matches!(event.body, bpf::Body::Session(_)))
            .map(|event| event.header.session)
            .collect();
        let mut unknown = BTreeMap::new();
        for header in events().map(|event| event.header) {
            let number = header.session;
            let is_known = number == CANARY
                || begun.contains(&number)
                || self.ended.contains(&number)
                || core.tracker.registry.get(number).is_some();
            if !is_known {
                unknown.entry(number).or_insert(header.pid);
            }
        }
        for (number, pid) in unknown {
            self.begin(core, number, Some(pid))?;
        }
        Ok(())
    }

    /// Begins a session that the kernel already counts. `pid`: a process that was in
    /// it. False when there is no process, and no session was begun.
    ///
    /// # Errors
    ///
    /// /proc cannot be read.
    pub(super) fn begin(
        &self,
        core: &mut Core,
        number: SessionNumber,
        pid: Option<u32>,
    ) -> Result<bool, Error> {
        let members: BTreeSet<u32> = tagged(core.kernel.tags())?
            .into_iter()
            .filter_map(|(pid, of)| (of == number).then_some(pid))
            .collect();
        // The members are sorted by pid: most often the first is the oldest.
        let Some(root) = members.first().copied().or(pid) else {
            return Ok(false);
        };
        let (agent, rule) = self.agent_among(&members);
        core.tracker.begin_session(Begin {
            number,
            agent,
            rule,
            name: String::new(),
            origin: proto::Origin::Adopted,
            root,
            authority: authority::of_process(root),
        });
        for pid in members {
            core.tracker.join(number, pid);
        }
        Ok(true)
    }

    /// The agent that one of these processes is, and the rule that it matches.
    fn agent_among(&self, members: &BTreeSet<u32>) -> (String, String) {
        let names = self.rules.names();
        let rule = members
            .iter()
            .find_map(|&pid| match_process(&self.rules, pid))
            .and_then(|rule| names.get((rule as usize).checked_sub(1)?));
        rule.map_or_else(
            || ("unknown".to_owned(), "unknown".to_owned()),
            |rule| (rule.agent.clone(), rule.rule.clone()),
        )
    }
}
