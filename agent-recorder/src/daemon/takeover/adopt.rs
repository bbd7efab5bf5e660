//! Agents that ran before the recorder started: they are found in /proc by the same
//! rules, and tagged with all their descendants, including those that fork meanwhile.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agent_recorder_abi::state::{SessionNumber, Tag};

use crate::daemon::core::tagged;
use crate::daemon::processes::{ancestors, match_process, processes};
use crate::daemon::{Error, Recorder};
use crate::record::proto;
use crate::session::agents::RuleSet;
use crate::session::{self, Begin, authority};

/// Most passes over /proc. Each pass finds the children that were made during the one
/// before; a pass that finds none is the last.
const MAX_PASSES: usize = 20;

impl Recorder {
    /// Finds and tags running agents that are in no session. From the first pass to
    /// the last the kernel remembers every fork outside sessions, so that a
    /// descendant is found even if its parent has ended.
    ///
    /// # Errors
    ///
    /// The kernel's maps cannot be written.
    pub fn adopt(&mut self, rules: &RuleSet) -> Result<(), Error> {
        self.core.kernel.set_adopting(true)?;
        let result = self.adopt_all(rules);
        self.core.kernel.set_adopting(false)?;
        result
    }

    fn adopt_all(&mut self, rules: &RuleSet) -> Result<(), Error> {
        let mut parents = processes();
        let roots = self.begin_adopted(rules, &parents)?;
        let mut members: BTreeMap<u32, SessionNumber> = BTreeMap::new();
        let mut gone = Vec::new();
        for _ in 0..MAX_PASSES {
            parents.extend(self.core.kernel.lineage()?);
            parents.extend(processes());
            let mut new = 0;
            for &pid in parents.keys() {
                if members.contains_key(&pid) {
                    continue;
                }
                let Some(number) = session_of(pid, &parents, &roots) else {
                    continue;
                };
                new += 1;
                members.insert(pid, number);
                let tag = Tag::new(number, session::boot_ns());
                match self.core.kernel.tags().set_process(pid, tag) {
                    Ok(1..) => self.core.tracker.join(number, pid),
                    // The process has ended, and its children are in the lineage; or
                    // it is in another session.
                    Ok(0) | Err(_) => gone.push((number, pid)),
                }
            }
            if new == 0 {
                break;
            }
        }
        for (number, pid) in gone {
            if self.core.tracker.leave(number, pid) {
                self.end(number, proto::EndReason::Exited)?;
            }
        }
        self.core.records.sync();
        Ok(())
    }

    /// Begins a session for each outermost agent.
    fn begin_adopted(
        &mut self,
        rules: &RuleSet,
        parents: &HashMap<u32, u32>,
    ) -> Result<BTreeMap<u32, SessionNumber>, Error> {
        let names = rules.names();
        let members: BTreeMap<_, _> = tagged(self.core.kernel.tags())?.into_iter().collect();
        let agents: BTreeMap<u32, u32> = parents
            .keys()
            .filter(|pid| !members.contains_key(pid))
            .filter_map(|&pid| Some((pid, match_process(rules, pid)?)))
            .collect();
        let known: BTreeSet<u32> = agents.keys().copied().collect();
        let mut roots = BTreeMap::new();
        for (&pid, &rule) in &agents {
            let mut ancestors = ancestors(pid, parents).skip(1);
            if ancestors.any(|ancestor| known.contains(&ancestor)) {
                continue;
            }
            let Some(name) = (rule as usize)
                .checked_sub(1)
                .and_then(|index| names.get(index))
            else {
                continue;
            };
            let number = self.core.new_number();
            self.core.begin_session(Begin {
                number,
                agent: name.agent.clone(),
                rule: name.rule.clone(),
                name: String::new(),
                origin: proto::Origin::Adopted,
                root: pid,
                authority: authority::of_process(pid),
            })?;
            let start = self.core.tracker.started(number);
            self.core.store(start);
            // The session's first record names no process, so a later recorder finds
            // it by the checkpoint only.
            self.keep();
            roots.insert(pid, number);
        }
        Ok(roots)
    }
}

fn session_of(
    pid: u32,
    parents: &HashMap<u32, u32>,
    roots: &BTreeMap<u32, SessionNumber>,
) -> Option<SessionNumber> {
    ancestors(pid, parents).find_map(|ancestor| roots.get(&ancestor).copied())
}
