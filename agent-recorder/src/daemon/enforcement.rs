//! The guard's verdicts: what it is to know in the kernel, and what follows
//! when a session meets a limit there.
//!
//! Not here: counting and the first strike (the kernel programs), how a session
//! is ended or stopped (`guard`).

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent_recorder_abi::event::{GuardBody, Header};
use agent_recorder_abi::policy::{GUARD_FREEZE, PROGRAM_RESTORES, Policy};

use super::Error;
use super::core::Core;
use crate::bpf::Kernel;
use crate::guard;
use crate::guard::gate::Gate;
use crate::record::proto;
use crate::session;

/// So often directories of the guard's policy are looked for anew: they can be made, moved, mounted.
const PLACES_INTERVAL: Duration = Duration::from_secs(5);

/// What the guard decides by.
#[derive(Debug)]
pub(super) struct Enforcement {
    policy: guard::Policy,
    /// The recorder's own files.
    own: Vec<PathBuf>,
    last_refresh: Instant,
}

/// What was done to the processes of a session that met a limit.
#[derive(Default)]
struct Struck {
    killed: guard::Killed,
    frozen: guard::Frozen,
}

impl Enforcement {
    pub(super) fn new(policy: guard::Policy, own: Vec<PathBuf>) -> Self {
        Self {
            policy,
            own,
            last_refresh: Instant::now(),
        }
    }

    /// Has the kernel programs know which directories the policy names.
    ///
    /// # Errors
    ///
    /// The kernel's map cannot be written.
    pub(super) fn set_places(&self, kernel: &mut Kernel) -> Result<(), Error> {
        Ok(kernel.set_places(&guard::places::resolve(&self.policy))?)
    }

    /// Has them know the recorder's own files.
    ///
    /// # Errors
    ///
    /// As for [`Enforcement::set_places`].
    pub(super) fn set_own(&self, kernel: &mut Kernel) -> Result<(), Error> {
        let files = guard::self_protection::files(&self.own, &guard::switches());
        Ok(kernel.set_own(&files)?)
    }

    /// Has them know the programs' files that are there now.
    ///
    /// # Errors
    ///
    /// As for [`Enforcement::set_places`].
    pub(super) fn set_programs(&self, kernel: &mut Kernel, gate: &mut Gate) -> Result<(), Error> {
        let files = gate.files();
        let mut programs: HashMap<_, _> = files.programs.into_iter().collect();
        for key in guard::places::programs(&self.policy) {
            *programs.entry(key).or_insert(0) |= PROGRAM_RESTORES;
        }
        Ok(kernel.set_programs(&programs, &files.sizes)?)
    }

    /// Has them know what the policy, the gate and the recorder's own names lead
    /// to now, and records what somebody else changed of that.
    ///
    /// # Errors
    ///
    /// The kernel's maps cannot be read or written.
    pub(super) fn refresh(&self, core: &mut Core, gate: &mut Gate) -> Result<(), Error> {
        self.set_places(&mut core.kernel)?;
        self.set_own(&mut core.kernel)?;
        self.set_programs(&mut core.kernel, gate)?;
        let changed = core.kernel.changed()?;
        if !changed.is_empty() {
            core.record_tamper(proto::TamperAct::MapChanged, changed.join(", "));
        }
        Ok(())
    }

    /// The same, when it is time.
    ///
    /// # Errors
    ///
    /// As for [`Enforcement::refresh`].
    pub(super) fn on_tick(&mut self, core: &mut Core, gate: &mut Gate) -> Result<(), Error> {
        if self.last_refresh.elapsed() < PLACES_INTERVAL {
            return Ok(());
        }
        self.last_refresh = Instant::now();
        self.refresh(core, gate)
    }

    /// A session met a limit: ends or stops what is left of it, once, and
    /// records what was done.
    pub(super) fn on_limit(&self, core: &mut Core, header: &Header, body: GuardBody) {
        let action = self.action(&body);
        if is_met_already(core, header, &body, action) {
            return;
        }
        let mut struck = Struck::default();
        if action == proto::Action::Freeze {
            struck.frozen = core.freeze(header.session);
        } else if body.killed != 0 {
            struck.killed = sweep(core, header);
        }
        let enforcement = described(core, header, body, action, struck);
        core.record_enforcement(header, enforcement);
    }

    fn action(&self, body: &GuardBody) -> proto::Action {
        let ends = body.killed != 0;
        if ends && self.policy.config.action == GUARD_FREEZE {
            proto::Action::Freeze
        } else if body.denied != 0 {
            proto::Action::Deny
        } else if ends {
            proto::Action::Kill
        } else {
            proto::Action::Alert
        }
    }
}

/// Whether the limit that ends a session was met before: threads that were past
/// it together each say so, and one sweep meets them all.
fn is_met_already(
    core: &mut Core,
    header: &Header,
    body: &GuardBody,
    action: proto::Action,
) -> bool {
    let Some(session) = core.tracker.registry.get_mut(header.session) else {
        return false;
    };
    let met = if action == proto::Action::Freeze {
        &mut session.frozen
    } else {
        &mut session.killed
    };
    body.killed != 0 && std::mem::replace(met, true)
}

/// Ends what is left of a session that a limit was met in. Others died or
/// die at their next call, by the kernel's mark, before the sweep meets them.
fn sweep(core: &mut Core, header: &Header) -> guard::Killed {
    let mut killed = guard::kill(core.kernel.tags(), header.session);
    killed.pids.insert(header.pid);
    if let Some(session) = core.tracker.registry.get_mut(header.session) {
        killed.pids.extend(&session.live);
        killed.pids.extend(&session.struck);
    }
    let survives = |pid: &u32| killed.survivors.iter().any(|left| left.pid == *pid);
    killed.pids.retain(|pid| !survives(pid));
    killed
}

fn described(
    core: &Core,
    header: &Header,
    body: GuardBody,
    action: proto::Action,
    struck: Struck,
) -> proto::Enforcement {
    let Struck { killed, frozen } = struck;
    let latency = session::boot_ns().saturating_sub(header.time);
    let session = core.tracker.registry.get(header.session);
    let sample = || session.into_iter().flat_map(|session| &session.sample);
    let truncated = (0..).zip(sample()).filter(|(_, path)| path.truncated);
    let policy = Policy::from_number(body.policy).map_or("unknown", Policy::name);
    let cgroups = killed.cgroups.into_iter().chain(frozen.cgroups);
    proto::Enforcement {
        policy: policy.to_owned(),
        action: action.into(),
        count: body.count,
        limit: body.limit,
        window_ns: body.window,
        sample: sample().map(|path| path.bytes.to_vec()).collect(),
        sample_truncated: truncated.map(|(position, _)| position).collect(),
        survivors: u32::try_from(killed.survivors.len()).unwrap_or(u32::MAX),
        survivor: killed.survivors,
        killed: killed.pids.into_iter().collect(),
        frozen: frozen.pids.into_iter().collect(),
        cgroups: cgroups
            .map(|path| path.into_os_string().into_encoded_bytes())
            .collect(),
        latency_ns: latency,
        operation_may_have_completed: body.killed != 0 && body.denied == 0,
        gate: None,
    }
}
