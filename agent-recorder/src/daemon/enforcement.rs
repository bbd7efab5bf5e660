//! The guard's verdicts: the directories, files and programs that the kernel has to
//! know for them, and the consequences when a session meets a limit.
//!
//! Not here: counting and the first strike (the kernel programs), what counts once it was
//! looked at (`judgements`), and ending or stopping a session (`guard`).

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent_recorder_abi::event::{GuardBody, Header};
use agent_recorder_abi::policy::{GUARD_FREEZE, PROGRAM_RESTORES, Policy};

use super::Error;
use super::core::Core;
use super::judgements::{Judged, Judgements};
use crate::bpf::Kernel;
use crate::guard;
use crate::guard::gate::Gate;
use crate::record::proto;
use crate::session;

/// Interval at which the directories of the guard's policy are looked up again: they
/// can be created, moved, or mounted over.
const PLACES_INTERVAL: Duration = Duration::from_secs(5);

/// The inputs of the guard's decisions.
#[derive(Debug)]
pub(super) struct Enforcement {
    policy: guard::Policy,
    /// The recorder's own files.
    own: Vec<PathBuf>,
    last_refresh: Instant,
}

/// The enforcement on the processes of a session that met a limit.
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

    /// Sets the directories of the policy in the kernel.
    ///
    /// # Errors
    ///
    /// The kernel's map cannot be written.
    pub(super) fn set_places(&self, kernel: &mut Kernel) -> Result<(), Error> {
        Ok(kernel.set_places(&guard::places::resolve(&self.policy))?)
    }

    /// Sets the recorder's own files in the kernel.
    ///
    /// # Errors
    ///
    /// As for [`Enforcement::set_places`].
    pub(super) fn set_own(&self, kernel: &mut Kernel) -> Result<(), Error> {
        let files = guard::self_protection::files(&self.own, &guard::switches());
        Ok(kernel.set_own(&files)?)
    }

    /// Sets the gated programs' files that exist now in the kernel.
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

    /// Sets the files and directories of the policy, the gate and the recorder in the
    /// kernel as the paths resolve now, and records what another process changed in
    /// the maps.
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

    /// Calls [`Enforcement::refresh`] when the interval is over.
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

    /// Whether the judge looks at what a session destroyed before the guard acts.
    pub(super) fn is_judged(&self) -> bool {
        self.policy.is_judged
    }

    /// A session met a limit: ends or stops its remaining processes once, and records
    /// that.
    pub(super) fn on_limit(&self, core: &mut Core, header: &Header, body: GuardBody) {
        self.act(core, header, body, None);
    }

    /// Concludes on the sessions whose judgement is due. Events are carried until
    /// `carried`, ns.
    ///
    /// # Errors
    ///
    /// The kernel's maps cannot be written.
    pub(super) fn conclude(
        &self,
        core: &mut Core,
        judgements: &mut Judgements,
        carried: u64,
    ) -> Result<(), Error> {
        for judged in judgements.decide(core, &self.policy.config, carried)? {
            let Judged {
                header,
                body,
                ends,
                judgement,
            } = judged;
            if !ends {
                let action = proto::Action::Spare;
                let done = described(core, &header, body, action, Struck::default());
                record(
                    core,
                    &header,
                    proto::Enforcement {
                        judgement: Some(judgement),
                        ..done
                    },
                );
                continue;
            }
            if self.policy.config.action == GUARD_FREEZE {
                core.kernel.freeze(header.session)?;
            } else {
                core.kernel.condemn(header.session)?;
            }
            if let Some(session) = core.tracker.registry.get_mut(header.session) {
                session.condemned = true;
            }
            self.act(core, &header, body, Some(judgement));
        }
        Ok(())
    }

    fn act(
        &self,
        core: &mut Core,
        header: &Header,
        body: GuardBody,
        judgement: Option<proto::Judgement>,
    ) {
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
        let done = described(core, header, body, action, struck);
        record(core, header, proto::Enforcement { judgement, ..done });
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

/// Records what the guard did, logs it, and notes it where the session ends or stops.
fn record(core: &mut Core, header: &Header, done: proto::Enforcement) {
    let cause = cause(&done);
    let ends = matches!(
        done.action(),
        proto::Action::Kill | proto::Action::Freeze | proto::Action::Deny
    );
    if let Some(session) = core.tracker.registry.get_mut(header.session) {
        if done.action() == proto::Action::Spare {
            tracing::info!("session {}: {cause}", session.id);
        } else {
            tracing::warn!("session {}: {cause}", session.id);
        }
        if ends && (session.killed || session.frozen) {
            session.cause = cause;
        }
    }
    core.record_enforcement(header, done);
}

/// Whether the session already met the limit that ends it. Several threads that
/// exceed it together each emit an event, and one sweep meets them all.
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

/// Ends the remaining processes of a session that met a limit. The kernel's flag ends
/// the others at their next call.
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

/// What the guard did, and why, in one line.
fn cause(enforcement: &proto::Enforcement) -> String {
    let act = match enforcement.action() {
        proto::Action::Kill => "ended it by",
        proto::Action::Freeze => "stopped it by",
        proto::Action::Deny => "refused an act of it by",
        proto::Action::Spare => "let it go on at",
        _ => "let it continue at",
    };
    let lost = enforcement.judgement.as_ref().map(|it| it.lost);
    let lost = lost.map_or_else(String::new, |lost| format!(", of which {lost} are lost"));
    let proto::Enforcement {
        policy,
        count,
        limit,
        window_ns,
        ..
    } = enforcement;
    format!(
        "the guard {act} {policy}: it counted {count} as destroyed{lost}, limit {limit} within {:?} ([guard] in the configuration)",
        Duration::from_nanos(*window_ns)
    )
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
        judgement: None,
    }
}
