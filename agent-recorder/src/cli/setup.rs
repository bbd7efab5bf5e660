//! From the command line and the configuration to what the rooms take.

use agent_recorder_abi::state::{GUARD_ALERT, GUARD_KILL, GuardConfig};

use super::{Common, Error};
use crate::config::{Config, GuardAction, Profile};
use crate::kernel;
use crate::recorder;
use crate::session::agents::RuleSet;

/// The configuration in force.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) config: Config,
    pub(super) rules: RuleSet,
}

impl Setting {
    /// Reads the configuration; the command line goes before it.
    pub(super) fn load(common: &Common) -> Result<Self, Error> {
        let mut config = Config::load(common.config.as_deref())?;
        if let Some(state_dir) = &common.state_dir {
            config.recorder.state_dir.clone_from(state_dir);
        }
        if let Some(profile) = common.profile {
            config.recorder.profile = profile;
        }
        if let Profile::Lsm | Profile::Fentry = config.recorder.profile {
            return Err(Error::Usage(
                "the profiles lsm and fentry are not in this version: use --profile tracepoint or auto".to_owned(),
            ));
        }
        let rules = RuleSet::from_config(&config)?;
        Ok(Self { config, rules })
    }

    /// What a recorder is made of.
    pub(super) fn recorder(&self) -> recorder::Setup {
        let guard = &self.config.guard;
        let action = match guard.action {
            GuardAction::Off => 0,
            GuardAction::Alert => GUARD_ALERT,
            GuardAction::Kill => GUARD_KILL,
        };
        // Checked to be at most an hour.
        let window = u64::try_from(guard.window.as_nanos()).unwrap_or(u64::MAX);
        recorder::Setup {
            kernel: kernel::Options {
                priority_ring_bytes: self.config.kernel.priority_ring_bytes,
                bulk_ring_bytes: self.config.kernel.bulk_ring_bytes,
                guard: GuardConfig {
                    action,
                    limit: guard.limit,
                    window,
                },
                rules: self.rules.for_kernel(),
            },
            rules: self.rules.names(),
            spool: self.config.recorder.state_dir.join("spool"),
        }
    }
}
